"""Which image is in which unit: plans in the output folder, each adding to those before what its source has gained.

A plan is written before its units are worked on, and never changes. So a run that was killed is continued with the very
same units, however the source has grown meanwhile, and of two runs at once one makes the plan and the other uses it.
What a source has gained, lost or changed is found by walking through its listing and all plans side by side, in the
order of the images' keys, with a few of them in memory at a time.
"""

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, groupby, repeat
from operator import itemgetter
from typing import Any, Literal, NamedTuple

from bar_model.errors import BadInput
from pipeline.codes.encoded import EncodedUnits
from pipeline.codes.plan_files import Plan, PlanTable, PlanWriter, read_plans, stream_part, write_aside
from pipeline.execution.manifest import Manifest, open_stage
from pipeline.execution.unit import Unit
from pipeline.images.source import ListedImage, Source, listing_order
from pipeline.storage import Folder

OnChange = Literal["stop", "reencode", "drop"]


def plan_units(
    folder: Folder, stage: str, configuration: Mapping[str, Any], source: Source, unit_size: int, *, on_change: OnChange
) -> list[Unit]:
    """The units of all plans in the folder of the stage, after images that are in none were added as a new plan.

    `on_change` says what to do with a published image that has changed or is gone: `reencode` takes it as it is now,
    `drop` leaves it out, `stop` refuses. What was planned but never published may change freely. An image that was
    quarantined for a reason that may pass is planned anew, to be tried again.

    Raises:
        BadInput: the folder is another stage's, or a published image has changed or is gone (`stop`).
    """
    while True:
        published = open_stage(folder, stage, configuration, claim=False)
        plans = read_plans(folder)
        comparison = _Comparison(folder, plans, published, unit_size, on_change)
        plan = comparison.run(source)
        if plan is None:
            return comparison.units()
        # The folder is claimed after the source was read to its end: until then, labels may be mended by an option.
        open_stage(folder, stage, configuration)
        if folder.create(plan.name, plan.encode()):
            return comparison.units(*plan.units())
        # Another run was faster: the source is compared with its plan, too.


class _Comparison:
    """Compares the listing of a source with all plans."""

    def __init__(
        self, folder: Folder, plans: Sequence[Plan], published: Manifest | None, unit_size: int, on_change: OnChange
    ) -> None:
        self._folder, self._plans, self._on_change = folder, plans, on_change
        self._units = [unit for plan in plans for unit in plan.units()]
        self._encoded = EncodedUnits(folder, published, self._units)
        self._dropped: dict[int, list[str]] = {}
        self._writer = PlanWriter(folder, unit_size)
        self._left_out: list[ListedImage] = []
        self._gone: list[ListedImage] = []
        self._changes: list[str] = []
        self._num_changes = 0

    def run(self, source: Source) -> Plan | None:
        """Compares them, and gives the plan that has to be added, if any."""
        statements = [_statements(self._folder, plan) for plan in self._plans]
        listing = (_Statement(listing_order(image), _LISTED, _GONE, image) for image in _in_order(source.listing()))
        merged = heapq.merge(listing, *chain.from_iterable(statements), key=itemgetter(0, 1))
        for _, group in groupby(merged, key=itemgetter(0)):
            self._compare(list(group))
        if self._num_changes:
            raise BadInput(
                f"{self._num_changes:,} images are not as they were encoded, {'; '.join(self._changes)}: restore "
                "them, or give --on-change reencode (to encode them anew) or drop (to leave them out)"
            )
        parts = self._writer.close()
        left_out, gone = (write_aside(self._folder, listed_images) for listed_images in (self._left_out, self._gone))
        if not (parts or left_out or gone):
            return None
        number, first = (self._plans[-1].number + 1, self._plans[-1].next_unit) if self._plans else (1, 0)
        unit_size = self._writer.unit_size
        return Plan(number=number, unit_size=unit_size, first_unit=first, parts=parts, left_out=left_out, gone=gone)

    def units(self, *added: Unit) -> list[Unit]:
        """The units of the plans and those added, but for units that have lost all images and were never published."""
        named = [
            Unit(index=unit.index, size=unit.size, payload=unit.payload, dropped=tuple(self._dropped[unit.index]))
            if unit.index in self._dropped
            else unit
            for unit in (*self._units, *added)
        ]
        return [unit for unit in named if unit.num_wanted or self._encoded.is_published(unit)]

    def _compare(self, group: list["_Statement"]) -> None:
        """Compares what is listed under one key, if anything, with what the plans say of it, the newest first."""
        listed = group[0].image if group[0].rank == _LISTED else None
        plans = group[1:] if listed is not None else group
        latest, *older = [*plans, group[0]._replace(unit=_GONE)]  # Before all plans the image did not exist.
        for statement in older:
            self._drop(statement)
        if latest.unit == _GONE:
            if listed is not None:
                self._writer.add(listed)
        elif listed is None:
            self._note_change(latest, "is gone")
            self._gone.append(latest.image)
            self._drop(latest)
        elif latest.unit == _LEFT_OUT:
            if self._on_change == "reencode":
                self._writer.add(listed)
        elif self._is_passing(latest):
            self._writer.add(listed)
            self._drop(latest)
        elif listed != latest.image:
            self._note_change(latest, "has changed")
            is_unwanted = self._on_change == "drop" and self._is_published(latest.unit)
            (self._left_out.append if is_unwanted else self._writer.add)(listed)
            self._drop(latest)

    def _drop(self, statement: "_Statement") -> None:
        if statement.unit >= 0:
            self._dropped.setdefault(statement.unit, []).append(statement.image.name)

    def _note_change(self, statement: "_Statement", how: str) -> None:
        if self._on_change == "stop" and self._is_published(statement.unit):
            self._num_changes += 1
            if len(self._changes) < _CHANGES_NAMED:
                self._changes.append(f"{statement.image.name} {how}")

    def _is_passing(self, statement: "_Statement") -> bool:
        return self._encoded.is_passing(self._units[statement.unit], statement.image.name)

    def _is_published(self, unit: int) -> bool:
        return unit >= 0 and self._encoded.is_published(self._units[unit])


_LEFT_OUT, _GONE = -1, -2
"""They stand in the place of a unit's index."""
_LISTED = -(2**31)
"""The rank of what is listed: before all plans, of which the newest comes first."""
_CHANGES_NAMED = 3


class _Statement(NamedTuple):
    """What the listing or a plan says of an image. Of one key the listing comes first, then the newest plan."""

    order: tuple[list[str], int]
    rank: int
    unit: int
    image: ListedImage


def _statements(folder: Folder, plan: Plan) -> Iterator[Iterator[_Statement]]:
    """What a plan says, in streams that are each in order."""
    units = ((plan.first_unit + place // plan.unit_size, image) for place, image in _numbered(folder, plan.parts))
    yield _ranked(units, -plan.number)
    for part, unit in ((plan.left_out, _LEFT_OUT), (plan.gone, _GONE)):
        if part is not None:
            yield _ranked(zip(repeat(unit), stream_part(folder, part), strict=False), -plan.number)


def _ranked(listed_images: Iterable[tuple[int, ListedImage]], rank: int) -> Iterator[_Statement]:
    return (_Statement(listing_order(image), rank, unit, image) for unit, image in listed_images)


def _numbered(folder: Folder, parts: Sequence[PlanTable]) -> Iterator[tuple[int, ListedImage]]:
    return enumerate(image for part in parts for image in stream_part(folder, part))


def _in_order(listed_images: Iterable[ListedImage]) -> Iterator[ListedImage]:
    previous = None
    for image in listed_images:
        if previous is not None and not listing_order(previous) < listing_order(image):
            raise ValueError(f"a source must list in order, but {image.name!r} came after {previous.name!r}")
        previous = image
        yield image
