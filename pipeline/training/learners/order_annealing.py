"""How often token orders are random (RAR): at first always, in the end never."""

from dataclasses import dataclass

from bar_model.errors import BadInput
from bar_model.ranges import Share, check_ranges


@dataclass(frozen=True, kw_only=True)
class OrderAnnealing:
    """Random orders at first, raster order at the end (RAR): the two bounds are shares of the run."""

    random_until: Share = 0.5
    raster_from: Share = 0.75

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.random_until > self.raster_from:
            raise BadInput(
                f"orders random until {self.random_until} and raster from {self.raster_from}: must be shares of the "
                "run, the first not above the second"
            )

    def randomness_at(self, step: int, num_steps: int) -> float:
        """The probability of a random order in the step that comes after `step` others."""
        progress = step / num_steps
        if progress < self.random_until:
            return 1.0
        if progress >= self.raster_from:
            return 0.0
        return (self.raster_from - progress) / (self.raster_from - self.random_until)
