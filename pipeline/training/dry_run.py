"""A dry run: two steps of each kind of a training, which leave nothing. Does it fit, and how long would it take?"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import NamedTuple

import torch

from bar_model.errors import BadInput
from pipeline.storage import Folder
from pipeline.training.checkpoints.filesystem import remove_folder
from pipeline.training.initial_weights import announce_initial
from pipeline.training.learners.learner import Learner, Training, take_step
from pipeline.training.meter import peak_memory
from pipeline.training.ray_train import check_workers_fit, run_workers
from pipeline.training.step.ranks import Refused
from pipeline.training.worker import Outcome, WorkerTask, build_learner


class TimedSteps(NamedTuple):
    """Seconds of a warm-up step and of the next step of its kind, and the number of such steps in the training."""

    first: float
    second: float
    num: int


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """What a worker measured in a dry run."""

    kinds: Sequence[TimedSteps]
    peak_bytes: int
    """Memory of the GPU, or of the worker's process where there is none."""
    num_parameters: int

    def summary(self, *, batch: int) -> str:
        """One line for a person, about steps of `batch` rows."""
        steps = sum(kind.num for kind in self.kinds)
        seconds = sum(kind.second * kind.num for kind in self.kinds)
        return (
            f"dry run: {self.num_parameters:,} parameters learn; {seconds / steps:.3g} s a step of {batch:,} rows (the "
            f"first {self.kinds[0].first:.3g} s), {self.peak_bytes / 2**30:.2f} GiB a worker; {steps:,} steps would "
            f"take {timedelta(seconds=round(seconds))}, without validation, pictures and checkpoints"
        )


def dry_run(training: Training) -> None:
    """Tries a few steps on the workers, inside a Ray session, and prints what they take; `config.out` stays untouched.

    Raises:
        BadInput: the model to begin with does not fit the configuration, the workers do not fit into the cluster, or
            they lack a compiler or memory.
    """
    # A worker that lacks memory would lack it again.
    config = replace(training.config, workers=replace(training.config.workers, max_failures=0))
    if config.init is not None:
        announce_initial(config.init, config.model, None)
    check_workers_fit(config.workers)
    scratch = Folder(f"{config.out.rstrip('/')}.dry-run")
    try:
        found = run_workers(replace(training, config=config), measure_steps, scratch, None, stops_on_sigterm=False)
    finally:
        if scratch.exists():
            remove_folder(scratch)
    if isinstance(found, Outcome):
        raise BadInput(found.refused)
    print(found.summary(batch=config.batch), flush=True)


def measure_steps(job: WorkerTask) -> DryRun | Outcome:
    """Takes two steps of each kind in a worker; returns an outcome with the reason where the training can't begin.

    Raises:
        BadInput: the steps do not fit into the GPU's memory.
    """
    try:
        learner, ranks, device = build_learner(job)
        kinds = []
        for step, num in learner.kinds_of_steps(job.config.steps):
            first, second = (_seconds(learner, step, job.config.seed, ranks.rank) for _ in range(2))
            kinds.append(TimedSteps(first, second, num))
    except Refused as error:
        return Outcome({}, refused=str(error))
    except torch.OutOfMemoryError as error:
        reason = str(error).partition(".")[0]
        raise BadInput(
            f"dry run: the GPU's memory does not suffice ({reason}): lower --workers.micro-batch, or add "
            "--workers.recompute or --workers.sharded"
        ) from error
    parameters = (parameter for trainee in learner.trainees for parameter in trainee.model.parameters())
    return DryRun(
        kinds=tuple(kinds),
        peak_bytes=peak_memory(device),
        num_parameters=sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
    )


def _seconds(learner: Learner, step: int, seed: int, rank: int) -> float:
    began = time.perf_counter()
    take_step(learner, step, seed=seed, rank=rank)
    learner.trainee_at(step).report()  # Waits for the device.
    return time.perf_counter() - began
