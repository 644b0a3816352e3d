"""How many rows a worker computes at once, where its memory decides that: found out before the first step."""

from dataclasses import replace

import torch

from bar_model.errors import BadInput
from bar_model.memory import available_bytes, peak_bytes, readable_bytes
from pipeline.training.learners.learner import Learner
from pipeline.training.step.ranks import Ranks

_SPARE = 0.8
"""Share of free memory that is planned with: allocators, operations and the exchange of gradients need the rest."""


def fit_micro_batch(learner: Learner, ranks: Ranks, device: torch.device, *, workers_here: int) -> int:
    """Finds how many rows fit on every rank at once, and makes the learner compute so many.

    The number is a power of two or a rank's whole share. Two rows are tried first, and then twice as many as long as
    twice the memory is free, so that no more is tried than fits. `workers_here` workers are on this machine and share
    its memory where they have no GPUs.

    Raises:
        Refused: two rows do not fit on one of the ranks.
    """
    free = available_bytes(device) // (1 if device.type == "cuda" else workers_here)
    room, share = int(_SPARE * free), -(-learner.share.shuffle.batch // ranks.num)
    chosen, taken = 0, 0
    while chosen < share and ranks.least(room - 2 * taken) >= 0:
        chosen = min(2 * chosen or 2, share)
        taken = _peak(learner, chosen)

    def check() -> None:
        if taken > room:
            raise BadInput(
                f"workers.micro_batch: auto, but {chosen} rows need {readable_bytes(taken)} beside the weights, and "
                f"{readable_bytes(free)} are free: add --workers.recompute or --workers.sharded, or a larger device"
            )

    ranks.together(check)
    learner.share = replace(learner.share, micro_batch=chosen)
    return chosen


def _peak(learner: Learner, num_rows: int) -> int:
    """The bytes that so many rows need, forward and backward, uncompiled: compiled, they need no more."""
    rows = learner.share.shuffle.rows(0).between(0, num_rows)
    with torch.compiler.set_stance("force_eager"):
        return peak_bytes(lambda: learner.trainee_at(0).try_out(learner.micro_batch(rows, 0)))
