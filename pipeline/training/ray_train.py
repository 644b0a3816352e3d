"""Ray Train's part of a training: workers, and their resources."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TypeVar

from bar_model.errors import BadInput
from pipeline.cluster import is_fixed
from pipeline.redacted_output import hiding_secrets
from pipeline.storage import Folder
from pipeline.tracking.run import Run
from pipeline.training.board import board_with_progress
from pipeline.training.checkpoints.filesystem import arrow_filesystem
from pipeline.training.checkpoints.listing import FOLDER, CheckpointEntry
from pipeline.training.checkpoints.retention import retention
from pipeline.training.config import WorkersConfig
from pipeline.training.learners.learner import Training
from pipeline.training.ray_train_internals import make_trainer
from pipeline.training.sigterm import stop_on_sigterm
from pipeline.training.worker import WorkerTask

Found = TypeVar("Found")

RESIZE_S = 60.0
"""Seconds between checks for resources for more workers (`workers.max_num`); each change costs a new start."""
# Used unless they are set. Ray Train checks its workers every 2 s, and a run ends only at such a check. Its watcher for
# machines that are about to be taken away is one more process to start.
_RAY_TRAIN = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5", "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}

# glibc reads these when a worker on a CPU starts. Every step allocates the same sizes. Memory that was returned to the
# system would come back page by page, and the step would wait for it.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40), "MALLOC_ARENA_MAX": "1"}


def run_workers(
    training: Training,
    task: Callable[[WorkerTask], Found],
    out: Folder,
    run: Run | None,
    *,
    listed: Sequence[CheckpointEntry] = (),
    stops_on_sigterm: bool,
) -> Found:
    """Runs `task` on all workers and returns what the first one returned; checkpoints and their list are below `out`.

    `listed` are the checkpoints that are there already. `stops_on_sigterm` says that the task saves a checkpoint and
    stops when the board requests it; then the first SIGTERM to this process makes that request.
    """
    for name, value in _RAY_TRAIN.items():
        os.environ.setdefault(name, value)
    import ray
    from ray import train

    config = training.config
    workers, cpus = config.workers, _cpus_each(config.workers)
    filesystem, path = arrow_filesystem(out)
    with board_with_progress(training.stage, config.steps) as board:
        job = WorkerTask(
            config=config.for_workers(),
            build=training.build,
            data={name: ray.put(value) for name, value in training.data.items()},
            run=run.for_workers() if run is not None else None,
            board=board,
            num_threads=cpus,
        )
        trainer = make_trainer(
            partial(hiding_secrets(task), job),
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
                callbacks=[
                    retention(
                        out,
                        listed,
                        newest=config.cadence.keep_checkpoints,
                        best=config.cadence.keep_best,
                        pinned=config.fall_begins,
                    )
                ],
                worker_runtime_env={} if workers.gpu else {"env_vars": KEEP_MEMORY},
                failure_config=train.FailureConfig(max_failures=workers.max_failures),
                logging_config=train.LoggingConfig(log_level="ERROR"),
            ),
        )
        sigterm = stop_on_sigterm(board.request_stop.remote) if stops_on_sigterm else nullcontext()
        with sigterm, _sigint_restored():
            return trainer.fit().return_value


def _cpus_each(workers: WorkersConfig) -> int:
    """The CPUs of each worker: as configured, else those that come with a GPU, else an equal part of all CPUs.

    In each case they are on one machine.
    """
    import ray

    if workers.cpus is not None:
        return workers.cpus
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if workers.gpu:
        shares = [machine.get("CPU", 0) // machine["GPU"] for machine in machines if machine.get("GPU")]
        return max(1, int(min(shares, default=1)))
    cpus = [int(machine.get("CPU", 0)) for machine in machines]
    return max(1, min(sum(cpus) // workers.most, max(cpus)))


def check_workers_fit(workers: WorkersConfig) -> None:
    """Checks that the cluster is large enough for the workers, and prints what they wait for where it is not yet.

    Ray Train itself would wait without a message.

    Raises:
        BadInput: the workers do not fit, and the cluster can't grow.
    """
    import ray

    cpus, there, free = _cpus_each(workers), ray.cluster_resources(), ray.available_resources()

    def has_room(resources: Mapping[str, float]) -> bool:
        wanted = (("CPU", workers.num * cpus), ("GPU", workers.num * workers.gpu))
        return all(num <= resources.get(kind, 0) for kind, num in wanted)

    needed = f"workers: {workers.num} with {cpus} CPUs and {int(workers.gpu)} GPUs each"
    if has_room(there):
        if not has_room(free):
            left = f"{free.get('CPU', 0):g} CPUs and {free.get('GPU', 0):g} GPUs"
            print(
                f"{needed}: other work leaves {left} of the cluster free; waiting for it to end, or lower workers.cpus",
                flush=True,
            )
        return
    found = f"the cluster's {there.get('CPU', 0):g} CPUs and {there.get('GPU', 0):g} GPUs"
    if is_fixed():
        raise BadInput(f"{needed} do not fit into {found}: lower workers.num or workers.cpus, or leave workers.gpu out")
    print(f"{needed} do not fit into {found}: waiting until it grows", flush=True)


@contextmanager
def _sigint_restored() -> Iterator[None]:
    """Restores the handler of SIGINT: Ray Train leaves one behind that would abort a training that has ended."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)
