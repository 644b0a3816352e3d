"""Ray Train's part of a training: workers, their resources, and which of their checkpoints are kept."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from bar_model.errors import BadInput
from pipeline.cluster import is_fixed
from pipeline.storage import Folder
from pipeline.tracking.run import Run
from pipeline.training.board import shown
from pipeline.training.checkpoints.listing import FOLDER, Listed, ray_storage, remove, worth_keeping
from pipeline.training.config import Cadence, WorkersConfig
from pipeline.training.learners.learner import Training
from pipeline.training.sigterm import sigterm_asks
from pipeline.training.worker import Job, work

RESIZE_S = 60.0
"""How often a training with room for more workers looks whether there are more; each change costs a new start."""
# Unless they are set: Ray Train asks its workers how they are every 2 s, and a run ends only when it has asked; its
# watcher for machines about to be taken away is a process more to start.
_RAY_TRAIN = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5", "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}

# Read by glibc when a worker on a CPU starts: every step takes memory of the same sizes, and what was given back to the
# system comes back page by page, for which the step waits.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40), "MALLOC_ARENA_MAX": "1"}


def run_workers(
    training: Training, task: Callable[[Job], Any], out: Folder, run: Run | None, listed: list[Listed]
) -> Any:
    """What the first worker's `task` returns; Ray Train keeps its list and its checkpoints below `out`."""
    for name, value in _RAY_TRAIN.items():
        os.environ.setdefault(name, value)
    import ray
    from ray import train

    config = training.config
    workers, cpus = config.workers, _cpus_each(config.workers)
    filesystem, path = ray_storage(out)
    with shown(training.stage, config.steps) as board:
        job = Job(
            config=config.for_workers(),
            build=training.build,
            data={name: ray.put(value) for name, value in training.data.items()},
            run=run,
            board=board,
            num_threads=cpus,
        )
        trainer = _make_trainer(
            partial(task, job),
            scaling_config=train.ScalingConfig(
                num_workers=workers.num if workers.max_num is None else (workers.num, workers.max_num),
                elastic_resize_monitor_interval_s=RESIZE_S,
                use_gpu=workers.gpu,
                resources_per_worker={"CPU": cpus, "GPU": int(workers.gpu)},
            ),
            run_config=train.RunConfig(
                name=FOLDER,
                storage_path=path,
                storage_filesystem=filesystem,
                callbacks=[_retention(out, listed, config.cadence)],
                worker_runtime_env={} if workers.gpu else {"env_vars": KEEP_MEMORY},
                failure_config=train.FailureConfig(max_failures=workers.max_failures),
                logging_config=train.LoggingConfig(log_level="ERROR"),
            ),
        )
        asks = sigterm_asks(board.stop.remote) if task is work else nullcontext()
        with asks, _sigint_as_it_was():
            return trainer.fit().return_value


def _retention(out: Folder, listed: list[Listed], cadence: Cadence) -> Any:
    """What removes checkpoints, called by Ray Train whenever there is a new one."""
    from ray.train import UserCallback

    class Retention(UserCallback):
        def __init__(self) -> None:
            self._kept = listed
            self._unwanted: list[str] = []

        def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
            there = [*self._kept, Listed.of(checkpoint.path, metrics[0])]
            self._kept = worth_keeping(there, newest=cadence.keep_checkpoints, best=cadence.keep_best)
            self._unwanted += [each.name for each in there if each not in self._kept]
            self._unwanted = [name for name in self._unwanted if not _removed(out, name)]

    return Retention()


def _removed(out: Folder, name: str) -> bool:
    """Whether a checkpoint is gone. Whatever keeps it from being removed, the training goes on."""
    try:
        remove(out, name)
    except FileNotFoundError:
        pass
    except Exception as error:
        where = (out / FOLDER).path(name)
        print(f"{where} is no longer wanted, but can't be removed ({error}): trying again after the next", flush=True)
        return False
    return True


def _cpus_each(workers: WorkersConfig) -> int:
    """As configured; else the CPUs that come with a GPU, or an equal part of all, on one machine in either case."""
    import ray

    if workers.cpus is not None:
        return workers.cpus
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if workers.gpu:
        shares = [machine.get("CPU", 0) // machine["GPU"] for machine in machines if machine.get("GPU")]
        return max(1, int(min(shares, default=1)))
    cpus = [int(machine.get("CPU", 0)) for machine in machines]
    return max(1, min(sum(cpus) // workers.most, max(cpus)))


def check_room(workers: WorkersConfig) -> None:
    """Ray Train would wait for what is missing, without a word."""
    import ray

    cpus, there, free = _cpus_each(workers), ray.cluster_resources(), ray.available_resources()

    def has_room(resources: Mapping[str, float]) -> bool:
        wanted = (("CPU", workers.num * cpus), ("GPU", workers.num * workers.gpu))
        return all(num <= resources.get(kind, 0) for kind, num in wanted)

    wanted = f"workers: {workers.num} with {cpus} CPUs and {int(workers.gpu)} GPUs each"
    if has_room(there):
        if not has_room(free):
            left = f"{free.get('CPU', 0):g} CPUs and {free.get('GPU', 0):g} GPUs"
            print(f"{wanted}: others leave {left} of the cluster free; waiting for them (workers.cpus)", flush=True)
        return
    found = f"the cluster's {there.get('CPU', 0):g} CPUs and {there.get('GPU', 0):g} GPUs"
    if is_fixed():
        raise BadInput(f"{wanted} do not fit into {found}: ask for less (workers.num, workers.cpus, workers.gpu)")
    print(f"{wanted} do not fit into {found}: waiting until it has grown", flush=True)


@contextmanager
def _sigint_as_it_was() -> Iterator[None]:
    """Ray Train leaves a handler behind that aborts a training long over."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)


def _make_trainer(*arguments: Any, **options: Any) -> Any:
    """Ray Train's trainer, without two of the actors that it starts.

    One would hand out Ray datasets, of which there are none here. The other outlives the trainer to remove its workers'
    reservations, which Ray removes with the driver's job: it asks Ray's dashboard whether it is time, so that without
    one, as in a local cluster, it complains once a second, and does not end when the driver is killed.
    """
    from ray.train.torch import TorchTrainer
    from ray.train.v2._internal.callbacks import DatasetsCallback
    from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback

    class Trainer(TorchTrainer):
        def _create_default_callbacks(self) -> list[Any]:
            unwanted = (DatasetsCallback, PlacementGroupCleanerCallback)
            return [each for each in super()._create_default_callbacks() if not isinstance(each, unwanted)]

    return Trainer(*arguments, **options)
