"""How many rows a worker computes at once, where that follows from its memory: asked before the first step."""

from dataclasses import replace

import torch

from bar_model.errors import BadInput
from bar_model.memory import available_bytes, peak_bytes, readable_bytes
from pipeline.training.learners.learner import Learner
from pipeline.training.step.ranks import Ranks

_SPARE = 0.8
"""Of free memory that is planned with: allocators round up, operations take some inside, exchanges theirs."""


def fit_micro_batch(learner: Learner, ranks: Ranks, device: torch.device, *, workers_here: int) -> int:
    """How many rows, a power of two or a rank's whole share, fit on every rank; the learner then computes so many.

    Two rows are tried, and then twice as many as long as twice the memory is there, so that no more is tried than fits.
    `workers_here`: on this machine, which share its memory where they have no GPUs.

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
                f"workers.micro_batch: auto, but {chosen} rows take {readable_bytes(taken)} beside the weights, and "
                f"{readable_bytes(free)} are free: add --workers.recompute or --workers.sharded, or a larger device"
            )

    ranks.together(check)
    learner.share = replace(learner.share, micro_batch=chosen)
    return chosen


def _peak(learner: Learner, num_rows: int) -> int:
    """Of so many rows, forward and back, uncompiled, in which they take no less."""
    rows = learner.share.shuffle.rows(0).between(0, num_rows)
    with torch.compiler.set_stance("force_eager"):
        return peak_bytes(lambda: learner.player_at(0).try_out(learner.micro_batch(rows, 0)))
