"""Two steps of a training that leave nothing: whether it fits, and how long all of it would take."""

import time
from dataclasses import dataclass
from datetime import timedelta

from pipeline.learner import take_step
from pipeline.loop import Job, Outcome, built, lacking
from pipeline.meter import peak_memory

NUM_STEPS = 2


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """What a worker found; the first step warms up."""

    seconds: tuple[float, ...]
    """Of each step."""
    peak_bytes: int
    """Memory of the GPU, or of the worker's process where there is none."""
    num_parameters: int

    def told(self, *, steps: int, batch: int) -> str:
        first, step_s = self.seconds[0], self.seconds[-1]
        rest = timedelta(seconds=round(step_s * steps))
        return (
            f"dry run: {self.num_parameters:,} parameters learn; {step_s:.3g} s a step of {batch:,} rows (the first "
            f"{first:.3g} s), {self.peak_bytes / 2**30:.2f} GiB a worker; {steps:,} steps would take {rest}, without "
            "validation, pictures and checkpoints"
        )


def try_out(job: Job) -> DryRun | Outcome:
    """In a worker: the first steps, each to its end; an outcome where it can't begin."""
    if refused := lacking(job):
        return Outcome({}, refused=refused)
    learner, ranks, device = built(job)
    seconds = []
    for step in range(NUM_STEPS):
        began = time.perf_counter()
        take_step(learner, step, seed=job.config.seed, rank=ranks.rank)
        learner.player_at(step).report()  # Waits for the device.
        seconds.append(time.perf_counter() - began)
    return DryRun(
        seconds=tuple(seconds),
        peak_bytes=peak_memory(device),
        num_parameters=sum(
            parameter.numel()
            for player in learner.players
            for parameter in player.model.parameters()
            if parameter.requires_grad
        ),
    )
