"""This process among the ranks that train together: sums, minima, and refusals that all ranks make together."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
import torch.distributed
from torch import Tensor

from bar_model.errors import BadInput

Found = TypeVar("Found")


class Refused(BadInput):
    """A refusal that all ranks raise in the same place, so that none waits for another."""


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This worker's rank among the `num` workers that train together."""

    rank: int = 0
    num: int = 1

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all ranks, in place."""
        if self.num > 1:
            torch.distributed.all_reduce(values)
        return values

    def least(self, value: int) -> int:
        """The minimum over all ranks."""
        values: list[int] = [value] * self.num
        if self.num > 1:
            torch.distributed.all_gather_object(values, value)
        return min(values)

    def together(self, task: Callable[[], Found]) -> Found:
        """Runs a task on all ranks, and returns its result on this rank once all have done it.

        Raises:
            Refused: on all ranks, if the task raised BadInput on any of them; the others would wait for that one.
        """
        found, error = None, ""
        try:
            found = task()
        except BadInput as refusal:
            error = str(refusal)
        errors = [error] * self.num
        if self.num > 1:
            torch.distributed.all_gather_object(errors, error)
        if any(errors):
            raise Refused(next(filter(None, errors)))
        return cast("Found", found)
