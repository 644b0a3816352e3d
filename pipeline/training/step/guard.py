"""The guard of a training: it counts skipped steps and spikes of the loss, and says when to stop."""

import math
from dataclasses import dataclass

from bar_model.errors import WorkFailed

SPIKE = 10.0
"""Standard deviations above the mean beyond which a loss is a spike."""
SPIKE_MEMORY = 100
"""Steps over which mean and deviation are taken; older steps count less and less."""


class Diverged(WorkFailed):
    """Losses or gradients are no longer finite; the message names steps and rows."""


@dataclass
class Guard:
    """Counts skipped steps, skipped steps in a row, and spikes of the loss; its fields go into a checkpoint."""

    skipped: int = 0
    in_row: int = 0
    spikes: int = 0
    seen: int = 0
    mean: float = 0.0
    variance: float = 0.0

    def count_step(self, finite: bool) -> bool:
        """Counts the next step, and returns whether it is the third in a row that was skipped."""
        self.skipped += not finite
        self.in_row = 0 if finite else self.in_row + 1
        return self.in_row == 3

    def add_loss(self, loss: float) -> float:
        """Counts the next loss; returns by how many standard deviations it exceeds the mean of about the last hundred.

        The answer is 0 before there were so many.
        """
        known = self.seen >= SPIKE_MEMORY and self.variance > 0
        deviation = (loss - self.mean) / math.sqrt(self.variance) if known else 0.0
        self.spikes += deviation > SPIKE
        self.seen += 1
        share = max(1 / self.seen, 1 / SPIKE_MEMORY)
        self.variance = (1 - share) * (self.variance + share * (loss - self.mean) ** 2)
        self.mean += share * (loss - self.mean)
        return deviation
