"""Which picture is in which unit: plans in the output folder, each adding to those before what its source gained.

A plan is written before its units are worked on, and never changes. So a run that was killed is taken up with the very
same units, however the source has grown meanwhile; of two runs at once one makes the plan and the other takes it; and
what a source has gained, lost or changed is found by walking through its listing and all plans side by side, in the
order of the pictures' keys, a few in memory at a time.
"""

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, groupby, repeat
from operator import itemgetter
from typing import Any, Literal, NamedTuple

from bar_model.errors import BadInput
from pipeline.codes.plan_files import Plan, PlanTable, PlanWriter, read_plans, stream_part, write_aside
from pipeline.execution.manifest import Manifest, open_stage
from pipeline.execution.unit import Unit
from pipeline.images.source import ListedImage, Source, order
from pipeline.storage import Folder

OnChange = Literal["stop", "reencode", "drop"]


def plan_units(
    folder: Folder, stage: str, configuration: Mapping[str, Any], source: Source, unit_size: int, *, on_change: OnChange
) -> list[Unit]:
    """The units of all plans; pictures that are in none make a plan of their own first, in the folder of the stage.

    BadInput where the folder is another's, and where a picture that was published has changed or is gone, unless
    `on_change` says what becomes of it: `reencode` takes it as it is now, `drop` leaves it out. What was planned but
    never published may change freely.
    """
    while True:
        published = open_stage(folder, stage, configuration, claim=False)
        plans = read_plans(folder)
        comparison = _Comparison(folder, plans, published, unit_size, on_change)
        plan = comparison.run(source)
        if plan is None:
            return comparison.units()
        # The claim comes after the source was read to its end: whoever has to mend a label may do it by an option.
        open_stage(folder, stage, configuration)
        if folder.create(plan.name, plan.encode()):
            return comparison.units(*plan.units())
        # Another run was faster: its plan is compared with in turn.


class _Comparison:
    """A source's listing beside all plans."""

    def __init__(
        self, folder: Folder, plans: Sequence[Plan], published: Manifest | None, unit_size: int, on_change: OnChange
    ) -> None:
        self._folder, self._plans, self._on_change = folder, plans, on_change
        self._published = {file.unit for file in published.files} if published is not None else set()
        self._units = [unit for plan in plans for unit in plan.units()]
        self._dropped: dict[int, list[str]] = {}
        self._writer = PlanWriter(folder, unit_size)
        self._left_out: list[ListedImage] = []
        self._gone: list[ListedImage] = []
        self._offences: list[str] = []
        self._num_offences = 0

    def run(self, source: Source) -> Plan | None:
        """The plan that has to be added, if any."""
        records = [_records(self._folder, plan) for plan in self._plans]
        listing = (_Told(order(picture), _LISTED, _GONE, picture) for picture in _in_order(source.listing()))
        merged = heapq.merge(listing, *chain.from_iterable(records), key=itemgetter(0, 1))
        for _, group in groupby(merged, key=itemgetter(0)):
            self._compare(list(group))
        if self._num_offences:
            raise BadInput(
                f"{self._num_offences:,} images are not as they were encoded, {'; '.join(self._offences)}: restore "
                "them, or give --on-change reencode (to encode them anew) or drop (to leave them out)"
            )
        parts = self._writer.close()
        left_out, gone = (write_aside(self._folder, pictures) for pictures in (self._left_out, self._gone))
        if not (parts or left_out or gone):
            return None
        number, first = (self._plans[-1].number + 1, self._plans[-1].next_unit) if self._plans else (1, 0)
        unit_size = self._writer.unit_size
        return Plan(number=number, unit_size=unit_size, first_unit=first, parts=parts, left_out=left_out, gone=gone)

    def units(self, *added: Unit) -> list[Unit]:
        """Those of the plans and of the one added, but for units without a picture left that were never published."""
        named = [
            Unit(index=unit.index, size=unit.size, payload=unit.payload, dropped=tuple(self._dropped[unit.index]))
            if unit.index in self._dropped
            else unit
            for unit in (*self._units, *added)
        ]
        return [unit for unit in named if unit.num_wanted or unit.digest in self._published]

    def _compare(self, group: list["_Told"]) -> None:
        """What is listed under one key, if it is, and what the plans say of it, the newest first."""
        listed = group[0].picture if group[0].rank == _LISTED else None
        plans = group[1:] if listed is not None else group
        latest, *older = [*plans, group[0]._replace(unit=_GONE)]  # Before all plans there was nothing.
        for told in older:
            self._drop(told)
        if latest.unit == _GONE:
            if listed is not None:
                self._writer.add(listed)
        elif listed is None:
            self._offend(latest, "is gone")
            self._gone.append(latest.picture)
            self._drop(latest)
        elif latest.unit == _LEFT_OUT:
            if self._on_change == "reencode":
                self._writer.add(listed)
        elif listed != latest.picture:
            self._offend(latest, "has changed")
            is_unwanted = self._on_change == "drop" and self._is_published(latest.unit)
            (self._left_out.append if is_unwanted else self._writer.add)(listed)
            self._drop(latest)

    def _drop(self, told: "_Told") -> None:
        if told.unit >= 0:
            self._dropped.setdefault(told.unit, []).append(told.picture.name)

    def _offend(self, told: "_Told", how: str) -> None:
        if self._on_change == "stop" and self._is_published(told.unit):
            self._num_offences += 1
            if len(self._offences) < _OFFENCES_NAMED:
                self._offences.append(f"{told.picture.name} {how}")

    def _is_published(self, unit: int) -> bool:
        return unit >= 0 and self._units[unit].digest in self._published


_LEFT_OUT, _GONE = -1, -2
"""In the place of a unit's index."""
_LISTED = -(2**31)
"""The rank of what is listed: before all plans, of which the newest comes first."""
_OFFENCES_NAMED = 3


class _Told(NamedTuple):
    """What the listing or a plan says of a picture; of one key the listing comes first, then the newest plan."""

    order: tuple[list[str], int]
    rank: int
    unit: int
    picture: ListedImage


def _records(folder: Folder, plan: Plan) -> Iterator[Iterator[_Told]]:
    """What a plan tells, in streams that are each in order."""
    units = ((plan.first_unit + place // plan.unit_size, picture) for place, picture in _numbered(folder, plan.parts))
    yield _ranked(units, -plan.number)
    for part, unit in ((plan.left_out, _LEFT_OUT), (plan.gone, _GONE)):
        if part is not None:
            yield _ranked(zip(repeat(unit), stream_part(folder, part), strict=False), -plan.number)


def _ranked(pictures: Iterable[tuple[int, ListedImage]], rank: int) -> Iterator[_Told]:
    return (_Told(order(picture), rank, unit, picture) for unit, picture in pictures)


def _numbered(folder: Folder, parts: Sequence[PlanTable]) -> Iterator[tuple[int, ListedImage]]:
    return enumerate(picture for part in parts for picture in stream_part(folder, part))


def _in_order(pictures: Iterable[ListedImage]) -> Iterator[ListedImage]:
    previous = None
    for picture in pictures:
        if previous is not None and not order(previous) < order(picture):
            raise ValueError(f"a source must list in order, but {picture.name!r} came after {previous.name!r}")
        previous = picture
        yield picture
