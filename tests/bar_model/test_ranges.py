"""Numbers outside of their field's range are refused by name; that every field has one is in tests/system."""

import copy
import dataclasses
import math
from dataclasses import dataclass
from typing import Annotated, Any

import pytest

from bar_model.errors import BadInput
from bar_model.ranges import Count, Positive, Range, Seed, Share, ShareBelowOne, check_ranges


@dataclass(frozen=True, kw_only=True)
class Painting:
    """A configuration with fields of every shape."""

    steps: Positive = 5
    every: Count = 0
    seed: Seed | None = None
    dropped: ShareBelowOne = 0.5
    betas: tuple[Share, Share] = (0.9, 0.9)
    rate: Annotated[float, Range(above=0)] = 1.0
    sizes: tuple[Positive | str, ...] = (1, "auto")
    shown: bool = True
    name: str = "5"

    def __post_init__(self) -> None:
        check_ranges(self)


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("steps", 0, "steps 0: must be at least 1"),
        ("steps", 10**30, f"steps {10**30}: must be at least 1 and at most 1,000,000,000,000"),
        ("steps", 10**400, "must be a finite number at least 1"),
        ("steps", 1.0, "steps 1.0: must be a whole number"),
        ("steps", True, "steps True: must be a whole number"),
        ("every", -1, "every -1: must be at least 0"),
        ("seed", 2**32, "must be at least 0 and at most 4,294,967,295"),
        ("dropped", 1, "dropped 1: must be at least 0 and below 1"),
        ("dropped", math.nan, "dropped nan: must be a finite number at least 0 and below 1"),
        ("betas", (0.9, 1.5), "betas 0.9 1.5: must be at least 0 and at most 1"),
        ("betas", [math.inf, 0.5], "betas inf 0.5: must be a finite number"),
        ("rate", 0, "rate 0: must be above 0"),
        ("rate", math.inf, "rate inf: must be a finite number above 0"),
        ("rate", True, "rate True: must be a number"),
        ("sizes", (1, 0), "sizes 1 0: must be at least 1"),
    ],
)
def test_a_number_out_of_its_range_is_refused_by_name(field: str, value: Any, told: str) -> None:
    with pytest.raises(BadInput) as caught:
        dataclasses.replace(Painting(), **{field: value})
    assert told in str(caught.value)
    assert caught.value.field == (Painting, field)
    again = copy.copy(caught.value)  # As Ray's pickling makes it anew in the driver.
    assert (str(again), again.field) == (str(caught.value), (Painting, field))


def test_numbers_in_their_ranges_and_other_values_are_taken() -> None:
    Painting(steps=10**12, seed=0, dropped=0, betas=(0, 1), rate=1e-300, sizes=("auto", 3), shown=False)
