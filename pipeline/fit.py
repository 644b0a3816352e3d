"""A training on the driver's side: Ray Train's workers, and the folder of a finished model."""

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from bar_model import checkpoint
from bar_model.errors import BadInput
from pipeline.board import shown
from pipeline.cluster import is_fixed
from pipeline.dry_run import DryRun, try_out
from pipeline.initial import load_initial, new_classes
from pipeline.learner import BuildLearner
from pipeline.loop import MODEL, MODEL_FILES, Job, Outcome, work, write_file
from pipeline.manifest import Inputs, Manifest, open_stage
from pipeline.players import Diverged
from pipeline.snapshots import FOLDER, Listed, drop_damaged, listed_in, ray_storage, remove, tidy, worth_keeping
from pipeline.state import check_state
from pipeline.stopping import EXIT_CODE, sigterm_asks
from pipeline.storage import Folder
from pipeline.tracking import Judged, Run
from pipeline.training import Cadence, TrainingConfig, WorkersConfig

RESULTS = "results.json"
RESIZE_S = 60.0
"""How often a training with room for more workers looks whether there are more; each change costs a new start."""
# Unless they are set: Ray Train asks its workers how they are every 2 s, and a run ends only when it has asked; its
# watcher for machines about to be taken away is a process more to start.
_RAY_TRAIN = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5", "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}

# Read by glibc when a worker on a CPU starts: every step takes memory of the same sizes, and what was given back to the
# system comes back page by page, which takes a sixth of a step.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40), "MALLOC_ARENA_MAX": "1"}


class Trained(NamedTuple):
    """A finished training: where the model is, its fingerprint, and what was measured last."""

    model: str
    fingerprint: str
    metrics: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training whose input has been read and found good.

    `data` goes through shared memory to the workers, where each is `opened()`; `build` makes the learner from it there.
    `recipe` is all that determines the weights, but for the model to begin with.
    """

    stage: str
    config: TrainingConfig
    build: BuildLearner
    data: Mapping[str, Any]
    recipe: Mapping[str, Any]
    inputs: Inputs


def fit(training: Training, run: Run | None) -> Trained:
    """Train inside a Ray session, from the last checkpoint in `config.out` if there is one; does nothing if finished.

    Raises:
        BadInput: `config.out` was made by another recipe, or is damaged; the model to begin with is another one; or the
            workers don't fit into the cluster or lack a compiler.
        Diverged: losses stopped being finite.
        SystemExit: SIGTERM came, and what was done is saved.
    """
    stage, config, recipe = training.stage, training.config, dict(training.recipe)
    if config.init is not None:
        recipe["init"] = _announce_initial(config.init, config, run)
    out = Folder(config.out)
    if Manifest.newest(out) is None:
        _check_room(config.workers)
    if (published := open_stage(out, stage, recipe)) is not None:
        _check_complete(out, published)
        trained = _read(out)
        print(f"{out}: trained before, nothing to do", flush=True)
    else:
        listed = _listed(out, config)
        outcome: Outcome = _run_workers(training, work, out, run, listed)
        if outcome.refused:
            raise BadInput(outcome.refused)
        if outcome.diverged:
            raise Diverged(outcome.diverged)
        if outcome.stopped_after:
            print(f"{out}: saved after step {outcome.stopped_after:,}; the same command goes on from there", flush=True)
            raise SystemExit(EXIT_CODE)
        trained = _publish(out, stage, recipe, training.inputs, outcome)
        print(f"{out}: trained for {config.steps:,} steps", flush=True)
    if run is not None:
        run.output("model", trained.model, trained.fingerprint)
        weights = next(file for file in Manifest.read(out).files if file.name == f"{MODEL}/{MODEL_FILES[0]}")
        name = type(config.model).__name__.removesuffix("Config").lower()
        run.model(name, trained.model, trained.fingerprint, sha256=weights.sha256)
        run.metrics({f"final/{name}": value for name, value in trained.metrics.items()}, of=Judged(trained.fingerprint))
    return trained


def expect_checkpoint(config: TrainingConfig) -> None:
    """Before anything is begun.  Raises: BadInput: there is none to go on from, though one is asked for."""
    if config.resume is not None and not listed_in(Folder(config.out)):
        raise BadInput(f"{config.out} has no checkpoint to go on from: correct --out, or begin anew without --resume")


def dry_run(training: Training) -> None:
    """A few steps by the workers, inside a Ray session, and a line on what they took; `config.out` is left alone.

    Raises:
        BadInput: the model to begin with is another one, the workers don't fit into the cluster, or lack a compiler or
            memory.
    """
    # Whoever does not fit is not tried again.
    config = replace(training.config, workers=replace(training.config.workers, max_failures=0))
    if config.init is not None:
        _announce_initial(config.init, config, None)
    _check_room(config.workers)
    scratch = Folder(f"{config.out.rstrip('/')}.dry-run")
    try:
        found: DryRun | Outcome = _run_workers(replace(training, config=config), try_out, scratch, None, [])
    finally:
        if scratch.exists():
            filesystem, path = ray_storage(scratch)
            filesystem.delete_dir(path)
    if isinstance(found, Outcome):
        raise BadInput(found.refused)
    print(found.told(batch=config.batch), flush=True)


def _announce_initial(url: str, config: TrainingConfig, run: Run | None) -> str:
    """The fingerprint of the model to begin with, and a line on what of it is not taken over."""
    initial = load_initial(url, config.model)
    fingerprint = checkpoint.fingerprint(initial)
    num_new = new_classes(initial, config.model)
    new = f"the vectors of {num_new:,} classes are drawn anew, all else is" if num_new else "all weights are"
    print(f"{url}: {new} taken over", flush=True)
    if run is not None:
        run.input("init", url, fingerprint)
    return fingerprint


def _listed(out: Folder, config: TrainingConfig) -> list[Listed]:
    """The checkpoints there are.  Raises: BadInput: the newest is not whole, as far as its sizes show."""
    if config.resume == "last-whole":
        drop_damaged(out)
    listed = tidy(out)
    step = check_state(out / FOLDER / listed[-1].name, contents=False)["step"] if listed else 0
    print(f"{out}: {f'going on after step {step:,}' if listed else 'no checkpoint yet, beginning'}", flush=True)
    if 0 < config.cadence.trace_at < step:
        print(f"nothing will be traced: step {config.cadence.trace_at:,} (cadence.trace_at) is done", flush=True)
    return listed


def _run_workers(
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


def _check_room(workers: WorkersConfig) -> None:
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


def _publish(out: Folder, stage: str, recipe: Mapping[str, Any], inputs: Inputs, outcome: Outcome) -> Trained:
    """The manifest, last: it makes the training a finished one."""
    results = {"fingerprint": outcome.fingerprint, "metrics": outcome.metrics}
    document = write_file(out, RESULTS, (json.dumps(results, indent=1) + "\n").encode())
    Manifest(
        stage=stage,
        generation=1,
        configuration=recipe,
        inputs=inputs,
        files=(*outcome.files, document),
    ).commit(out)
    return _read(out)


def _check_complete(out: Folder, published: Manifest) -> None:
    for file in published.files:
        if not out.exists(file.name):
            raise BadInput(
                f"{out.path(file.name)} is missing, though this training is finished: restore it, or choose another "
                "output folder"
            )


def _read(out: Folder) -> Trained:
    results = json.loads(out.read(RESULTS))
    return Trained(out.path(MODEL), results["fingerprint"], results["metrics"])
