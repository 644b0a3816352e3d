"""A training on the driver's side: from what is there already to the folder of a finished model."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bar_model import checkpoint
from bar_model.errors import BadInput
from pipeline.execution.manifest import Inputs, Manifest, open_stage
from pipeline.storage import Folder
from pipeline.tracking.lineage import Judged
from pipeline.tracking.run import Run
from pipeline.training.checkpoints.listing import FOLDER, Listed, drop_damaged, listed_in, ray_storage, tidy
from pipeline.training.checkpoints.state import check_state
from pipeline.training.config import TrainingConfig
from pipeline.training.dry_run import DryRun, try_out
from pipeline.training.initial_weights import load_initial, new_classes
from pipeline.training.learners.learner import Training
from pipeline.training.output import MODEL, MODEL_FILES, RESULTS, Trained, read_trained, write_file
from pipeline.training.ray_train import check_room, run_workers
from pipeline.training.sigterm import EXIT_CODE
from pipeline.training.step.guard import Diverged
from pipeline.training.worker import Outcome, work


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
        check_room(config.workers)
    if (published := open_stage(out, stage, recipe)) is not None:
        _check_complete(out, published)
        trained = read_trained(out)
        print(f"{out}: trained before, nothing to do", flush=True)
    else:
        listed = _listed(out, config)
        outcome: Outcome = run_workers(training, work, out, run, listed)
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
    check_room(config.workers)
    scratch = Folder(f"{config.out.rstrip('/')}.dry-run")
    try:
        found: DryRun | Outcome = run_workers(replace(training, config=config), try_out, scratch, None, [])
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
    return read_trained(out)


def _check_complete(out: Folder, published: Manifest) -> None:
    for file in published.files:
        if not out.exists(file.name):
            raise BadInput(
                f"{out.path(file.name)} is missing, though this training is finished: restore it, or choose another "
                "output folder"
            )
