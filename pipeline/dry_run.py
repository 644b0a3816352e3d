"""Two steps of a training that leave nothing: whether it fits, and how long all of it would take."""

import resource
import time
from dataclasses import dataclass
from datetime import timedelta

import torch

from pipeline.loop import Job, built
from pipeline.players import seed_dropout

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


def try_out(job: Job) -> DryRun:
    """In a worker: the first steps, each to its end."""
    learner, ranks, device = built(job)
    seconds = []
    for step in range(NUM_STEPS):
        began = time.perf_counter()
        parts = learner.share.parts(step)
        seed_dropout(job.config.seed, step, ranks.rank)
        micro_batches = (learner.micro_batch(rows, step) for rows in parts)
        player = learner.player_at(step)
        player.learn(micro_batches, num=len(parts), step=step)
        player.report()  # Waits for the device.
        seconds.append(time.perf_counter() - began)
    on_gpu = device.type == "cuda"
    return DryRun(
        seconds=tuple(seconds),
        peak_bytes=torch.cuda.max_memory_allocated() if on_gpu else _peak_bytes_of_process(),
        num_parameters=sum(
            parameter.numel()
            for player in learner.players
            for parameter in player.model.parameters()
            if parameter.requires_grad
        ),
    )


def _peak_bytes_of_process() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB.
