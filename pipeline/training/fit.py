"""A training on the driver's side: from what is there already to the folder of a finished model."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bar_model.configuration import json_file
from bar_model.errors import BadInput, WorkFailed
from pipeline.execution.manifest import Inputs, Manifest, open_stage
from pipeline.storage import Folder
from pipeline.tracking.lineage import Judged
from pipeline.tracking.run import Run
from pipeline.training.checkpoints.extension import with_more_steps
from pipeline.training.checkpoints.listing import FOLDER, CheckpointEntry, drop_damaged, listed_in, tidy
from pipeline.training.checkpoints.state import check_state
from pipeline.training.config import TrainingConfig
from pipeline.training.initial_weights import announce_initial
from pipeline.training.learners.learner import Training
from pipeline.training.lease import check_lease, lease
from pipeline.training.output import MODEL, MODEL_FILES, RESULTS, Trained, read_trained, write_file
from pipeline.training.ray_train import check_workers_fit, run_workers
from pipeline.training.sigterm import EXIT_CODE
from pipeline.training.step.guard import Diverged
from pipeline.training.worker import Outcome, train_in_worker


def fit(training: Training, run: Run | None) -> Trained:
    """Trains inside a Ray session, from the last checkpoint in `config.out` if there is one.

    A finished training is returned as it is.

    Raises:
        BadInput: `config.out` was made by another recipe or is damaged, another training works in it, the model to
            begin with does not fit the configuration, or the workers do not fit into the cluster or lack a compiler.
        Diverged: the losses were no longer finite.
        WorkFailed: another training has taken `config.out` over.
        SystemExit: SIGTERM came, and a checkpoint was saved.
    """
    with lease(training.config.out):
        return _fit(training, run)


def expect_checkpoint(config: TrainingConfig) -> None:
    """Checks, before anything begins, that there is a checkpoint where `config.resume` needs one.

    Raises:
        BadInput: there is none.
    """
    if config.resume is not None and not listed_in(Folder(config.out)):
        raise BadInput(
            f"{config.out} has no checkpoint to go on from: correct --out, or leave --resume out to begin anew"
        )


def _fit(training: Training, run: Run | None) -> Trained:
    stage, config, recipe = training.stage, training.config, dict(training.recipe)
    if config.init is not None:
        recipe["init"] = announce_initial(config.init, config.model, run)
    out = Folder(config.out)
    if (there := Manifest.newest(out)) is None or there.configuration.get("steps") != config.steps:
        check_workers_fit(config.workers)
    config, recipe = with_more_steps(config, stage, recipe)
    training = replace(training, config=config)
    published = open_stage(out, stage, recipe)
    if published is not None and published.configuration["steps"] == config.steps:
        _check_complete(out, published)
        trained = read_trained(out)
        print(f"{out}: the training is finished, nothing to do", flush=True)
    else:
        listed = _listed(out, config)
        outcome = run_workers(training, train_in_worker, out, run, listed=listed, stops_on_sigterm=True)
        if outcome.refused:
            raise BadInput(outcome.refused)
        if outcome.diverged:
            raise Diverged(outcome.diverged)
        if outcome.stopped_after:
            print(f"{out}: saved after step {outcome.stopped_after:,}; run the same command again to go on", flush=True)
            raise SystemExit(EXIT_CODE)
        check_lease(config.out)
        trained = _publish(out, stage, recipe, training.inputs, outcome)
        print(f"{out}: trained for {config.steps:,} steps", flush=True)
    if run is not None:
        run.output("model", trained.model, trained.fingerprint)
        weights = next(file for file in Manifest.read(out).files if file.name == f"{MODEL}/{MODEL_FILES[0]}")
        name = type(config.model).__name__.removesuffix("Config").lower()
        run.model(name, trained.model, trained.fingerprint, sha256=weights.sha256)
        run.metrics({f"final/{name}": value for name, value in trained.metrics.items()}, of=Judged(trained.fingerprint))
    return trained


def _listed(out: Folder, config: TrainingConfig) -> list[CheckpointEntry]:
    """The checkpoints that are there, from the oldest to the newest.

    Raises:
        BadInput: the newest is not whole, by the sizes of its files.
    """
    if config.resume == "last-whole":
        drop_damaged(out)
    listed = tidy(out)
    step = check_state(out / FOLDER / listed[-1].name, contents=False)["step"] if listed else 0
    print(f"{out}: {f'going on after step {step:,}' if listed else 'no checkpoint yet, beginning'}", flush=True)
    if 0 < config.cadence.trace_at < step:
        print(f"no trace will be made: step {config.cadence.trace_at:,} (cadence.trace_at) is already done", flush=True)
    return listed


def _publish(out: Folder, stage: str, recipe: Mapping[str, Any], inputs: Inputs, outcome: Outcome) -> Trained:
    """Writes the results and then the manifest, which makes the training a finished one."""
    results = {"fingerprint": outcome.fingerprint, "metrics": outcome.metrics}
    document = write_file(out, RESULTS, json_file(results))
    # Of an extended training there is one already, of fewer steps.
    fewer = Manifest.newest(out)
    manifest = Manifest(
        stage=stage,
        generation=1 if fewer is None else fewer.generation + 1,
        configuration=recipe,
        inputs=inputs,
        files=(*outcome.files, document),
    )
    if fewer is None:
        manifest.commit(out)
    elif not out.create(manifest.name, manifest.encode()):
        raise WorkFailed(f"{out.path(manifest.name)} is there: another process published in this folder meanwhile")
    return read_trained(out)


def _check_complete(out: Folder, published: Manifest) -> None:
    for file in published.files:
        if not out.exists(file.name):
            raise BadInput(
                f"{out.path(file.name)} is missing, though this training is finished: restore it, or choose another "
                "output folder"
            )
