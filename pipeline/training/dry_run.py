"""Two steps of each kind that a training has, which leave nothing: whether it fits, and how long all would take."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

import torch

from bar_model.errors import BadInput
from pipeline.training.learners.learner import Learner, take_step
from pipeline.training.meter import peak_memory
from pipeline.training.step.ranks import Refused
from pipeline.training.worker import Job, Outcome, built


class Trial(NamedTuple):
    """Seconds of a step: of one that warms up, of the next, and how many such steps there are."""

    first: float
    second: float
    num: int


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """What a worker found."""

    trials: Sequence[Trial]
    peak_bytes: int
    """Memory of the GPU, or of the worker's process where there is none."""
    num_parameters: int

    def told(self, *, batch: int) -> str:
        steps = sum(trial.num for trial in self.trials)
        seconds = sum(trial.second * trial.num for trial in self.trials)
        return (
            f"dry run: {self.num_parameters:,} parameters learn; {seconds / steps:.3g} s a step of {batch:,} rows (the "
            f"first {self.trials[0].first:.3g} s), {self.peak_bytes / 2**30:.2f} GiB a worker; {steps:,} steps would "
            f"take {timedelta(seconds=round(seconds))}, without validation, pictures and checkpoints"
        )


def try_out(job: Job) -> DryRun | Outcome:
    """In a worker: each step to its end; an outcome where it can't begin.

    Raises:
        BadInput: it does not fit into the GPU's memory.
    """
    try:
        learner, ranks, device = built(job)
        trials = []
        for step, num in learner.kinds_of_steps():
            first, second = (_seconds(learner, step, job.config.seed, ranks.rank) for _ in range(2))
            trials.append(Trial(first, second, num))
    except Refused as error:
        return Outcome({}, refused=str(error))
    except torch.OutOfMemoryError as error:
        reason = str(error).partition(".")[0]
        raise BadInput(
            f"dry run: the GPU's memory does not suffice ({reason}): lower --workers.micro-batch, or add "
            "--workers.recompute or --workers.sharded"
        ) from error
    return DryRun(
        trials=tuple(trials),
        peak_bytes=peak_memory(device),
        num_parameters=sum(
            parameter.numel()
            for player in learner.players
            for parameter in player.model.parameters()
            if parameter.requires_grad
        ),
    )


def _seconds(learner: Learner, step: int, seed: int, rank: int) -> float:
    began = time.perf_counter()
    take_step(learner, step, seed=seed, rank=rank)
    learner.player_at(step).report()  # Waits for the device.
    return time.perf_counter() - began
