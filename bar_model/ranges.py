"""The ranges of numbers in configurations: stated in a field's type, checked when a configuration is made.

A field says `steps: Positive`, `betas: tuple[ShareBelowOne, ShareBelowOne]` or `Annotated[float, Range(above=0)]`, and
its class calls `check_ranges` in `__post_init__`. So no number that a job can't use reaches its work: none that is not
finite, and none so large that it could only be a slip.
"""

import dataclasses
import sys
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from bar_model.errors import BadInput

LARGEST = 10**12
"""The largest whole number that a field takes unless it says another."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """The mark of a field of numbers: their bounds, of which `above` and `below` are themselves excluded."""

    least: int | float | None = None
    above: int | float | None = None
    most: int | float | None = None
    below: int | float | None = None

    def __contains__(self, value: int | float) -> bool:
        return (
            (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.most is None or value <= self.most)
            and (self.below is None or value < self.below)
        )

    def of(self, value: int | float) -> str:
        """The bounds as a text for somebody who gave this value: "at least 0 and below 1", "at most 1,048,576"."""
        bounds = (("at least", self.least), ("above", self.above), ("at most", self.most), ("below", self.below))
        # A bound that is only there to catch slips would distract where another one was missed.
        shown = [
            f"{words} {bound:,g}" if isinstance(bound, float) else f"{words} {bound:,}"
            for words, bound in bounds
            if bound is not None and (abs(bound) < 1000 or not abs(value) < abs(bound))
        ]
        return " and ".join(shown)


Positive = Annotated[int, Range(least=1, most=LARGEST)]
"""A number of things, of which at least one is needed."""
Count = Annotated[int, Range(least=0, most=LARGEST)]
"""A number of things, none among them."""
Size = Annotated[int, Range(least=1, most=2**20)]
"""A length inside of a model: a width, a depth, a number of heads or bits."""
Depth = Annotated[int, Range(least=1, most=2**10)]
"""A number of blocks of a model."""
Seed = Annotated[int, Range(least=0, most=2**32 - 1)]
"""A seed of random numbers."""
Share = Annotated[float, Range(least=0, most=1)]
"""A part of a whole."""
ShareBelowOne = Annotated[float, Range(least=0, below=1)]
"""A part of a whole that leaves some of it."""
Weight = Annotated[float, Range(least=0)]
"""A factor; 0 turns off what it weighs."""


def check_ranges(configuration: Any) -> None:
    """Checks that each number in a configuration's own fields is of its field's kind, finite and in its range.

    The parts of a configuration check themselves.

    Raises:
        BadInput: a number is not; the message names the field, the value and the range.
    """
    for name, ranges in ranged_fields(type(configuration)).items():
        value = getattr(configuration, name)
        several = value if isinstance(value, tuple | list) else (value,)
        refusals = [why for each in several if isinstance(each, int | float) and (why := _refusal(ranges, each))]
        if refusals:
            error = BadInput(f"{name} {' '.join(map(str, several))}: must be {refusals[0]}")
            error.field = type(configuration), name
            raise error


@cache
def ranged_fields(kind: type) -> Mapping[str, Mapping[type, Range]]:
    """The fields of a configuration's class that hold numbers, with the range of each kind, `int` or `float`."""
    hints = get_type_hints(kind, include_extras=True)
    fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(kind)  # pyright: ignore[reportArgumentType]
    found = {field.name: dict(_ranges(hints[field.name])) for field in fields}
    return {name: ranges for name, ranges in found.items() if ranges}


def _ranges(hint: Any) -> Iterator[tuple[type, Range]]:
    """The kinds of numbers in a field's type, each with its range; without a mark one without bounds."""
    if get_origin(hint) is Annotated:
        kind, *marks = get_args(hint)
        own = next((mark for mark in marks if isinstance(mark, Range)), None)
        yield from ((kind, own),) if own is not None else _ranges(kind)
    elif hint in (int, float):
        yield hint, Range()
    elif get_origin(hint) in (Union, types.UnionType, tuple):
        for part in get_args(hint):
            yield from _ranges(part)


def _refusal(ranges: Mapping[type, Range], value: int | float) -> str | None:
    """What the field takes instead of this value; None if it takes it."""
    kind = int if int in ranges and (float not in ranges or isinstance(value, int)) else float
    if isinstance(value, bool) or (kind is int and not isinstance(value, int)):
        return f"a {'whole ' * (kind is int)}number"
    is_finite = abs(value) <= sys.float_info.max  # math.isfinite takes no whole number beyond that.
    if not is_finite or value not in ranges[kind]:
        return f"{'' if is_finite else 'a finite number '}{ranges[kind].of(value)}".strip()
    return None
