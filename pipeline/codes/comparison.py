"""A source's listing and all plans of a folder, side by side: what was added, has changed, is gone, or is the same.

They are walked through in the order of the images' keys, with a few of them in memory at a time.
"""

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, groupby, repeat
from operator import itemgetter
from typing import Literal, NamedTuple

from bar_model.errors import BadInput
from pipeline.codes.contents import ContentComparison, Doubt, Verdict
from pipeline.codes.encoded import EncodedUnits
from pipeline.codes.plan_files import Plan, PlanTable, PlanWriter, stream_part, write_aside
from pipeline.execution.manifest import Manifest
from pipeline.execution.unit import Unit
from pipeline.images.left_out import LeftOut
from pipeline.images.source import ListedImage, Source, listing_order
from pipeline.storage import Folder

OnChange = Literal["stop", "reencode", "drop"]

CASES_AT_ONCE, DOUBTS_AT_ONCE = 1024, 256
"""Images that are decided together, and how many of them are read for it: some tens of megabytes."""
SAME_A_GROUP = 512


class Comparison:
    """Compares the listing of a source with all plans. It can be used once.

    With `moved_to` the source lies there now; then published images must agree with it in name, label and size.
    """

    def __init__(
        self,
        folder: Folder,
        plans: Sequence[Plan],
        published: Manifest | None,
        source: Source,
        unit_size: int,
        on_change: OnChange,
        *,
        moved_to: str | None = None,
    ) -> None:
        self._folder, self._plans, self._source, self._on_change = folder, plans, source, on_change
        self._moved_to = moved_to
        self._units = [unit for plan in plans for unit in plan.units()]
        self._encoded = EncodedUnits(folder, published, self._units)
        self.left_out = LeftOut()
        """What of the source is in no unit: what its listing leaves out, and images that changed (`drop`)."""
        self._unwanted = LeftOut()
        self._dropped: dict[int, list[str]] = {}
        self._writer, self._same = PlanWriter(folder, unit_size), PlanWriter(folder, SAME_A_GROUP)
        self._left_out: list[ListedImage] = []
        self._gone: list[ListedImage] = []
        self._changes: list[str] = []
        self._num_changes = 0

    def run(self, classes: Mapping[str, int]) -> Plan | None:
        """Compares them, and gives the plan that has to be added, if any; `classes` are those that it adds.

        Raises:
            BadInput: a published image has changed or is gone, and that is not to be.
        """
        statements = [_statements(self._folder, plan) for plan in self._plans]
        listed = _in_order(self._source.listing(self.left_out))
        listing = (_Statement(listing_order(image), _LISTED, _GONE, image) for image in listed)
        merged = heapq.merge(listing, *chain.from_iterable(statements), key=itemgetter(0, 1))
        total = sum(unit.size for unit in self._units if self._encoded.is_there(unit))
        with ContentComparison(self._source, self._encoded, total) as contents:
            cases = (self._case(list(group)) for _, group in groupby(merged, key=itemgetter(0)))
            for portion in _in_portions(cases):
                verdicts = contents.verdicts([case.doubt for case in portion if case.doubt is not None])
                for case in portion:
                    for statement in case.older:
                        self._drop(statement)
                    self._decide(case.listed, case.latest, next(verdicts) if case.doubt is not None else None)
        self._check_changes()
        self.left_out.update(self._unwanted)
        return self._plan(classes)

    def units(self, *added: Unit) -> list[Unit]:
        """The units of the plans and those added, but for units that have lost all images and were never published."""
        named = [
            Unit(index=unit.index, size=unit.size, payload=unit.payload, dropped=tuple(self._dropped[unit.index]))
            if unit.index in self._dropped
            else unit
            for unit in (*self._units, *added)
        ]
        return [unit for unit in named if unit.num_wanted or self._encoded.is_published(unit)]

    def _case(self, group: list["_Statement"]) -> "_Case":
        """What is listed under one key, if anything, and what the newest plan says of it."""
        listed = group[0].image if group[0].rank == _LISTED else None
        plans = group[1:] if listed is not None else group
        # A plan that only knows another version of an image leaves it in the unit that an older plan has put it into.
        stayed = [statement for statement in plans if statement.unit != _SAME]
        latest, *older = [*stayed, group[0]._replace(unit=_GONE)]  # Before all plans the image did not exist.
        latest = latest._replace(image=plans[0].image) if plans else latest
        return _Case(listed, latest, older, self._doubt(listed, latest))

    def _doubt(self, listed: ListedImage | None, latest: "_Statement") -> Doubt | None:
        """The image in doubt if nothing but its version is another, and its contents can decide."""
        if listed is None or latest.unit < 0 or not _is_same_but_version(listed, latest.image):
            return None
        unit = self._units[latest.unit]
        can_decide = self._encoded.is_there(unit) and not self._is_passing(latest) and not listed.problem
        if listed == latest.image or self._moved_to is not None or not can_decide:
            return None
        return Doubt(listed, unit, latest.place)

    def _decide(self, listed: ListedImage | None, latest: "_Statement", verdict: Verdict | None) -> None:
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
            else:
                self._unwanted.add(_CHANGED, listed.name)
        elif self._is_passing(latest) or (verdict is not None and verdict.was_unread):
            self._writer.add(listed)
            self._drop(latest)
        elif listed == latest.image:
            return
        elif self._is_same(listed, latest, verdict):
            self._same.add(listed)
        else:
            self._note_change(latest, verdict.why if verdict is not None else "has changed")
            if self._on_change == "drop" and self._is_published(latest.unit):
                self._left_out.append(listed)
                self._unwanted.add(_CHANGED, listed.name)
            else:
                self._writer.add(listed)
            self._drop(latest)

    def _is_same(self, listed: ListedImage, latest: "_Statement", verdict: Verdict | None) -> bool:
        """Whether an image of another version can stay in its unit."""
        if verdict is not None:
            return verdict.is_same
        # What no bytes decide: an image that can't be used for what the listing says, or a source that was moved.
        can_stay = (self._moved_to is not None or bool(listed.problem)) and latest.unit >= 0
        is_there = can_stay and self._encoded.is_there(self._units[latest.unit])
        return is_there and _is_same_but_version(listed, latest.image)

    def _drop(self, statement: "_Statement") -> None:
        if statement.unit >= 0:
            self._dropped.setdefault(statement.unit, []).append(statement.image.name)

    def _note_change(self, statement: "_Statement", how: str) -> None:
        if (self._on_change == "stop" or self._moved_to is not None) and self._is_published(statement.unit):
            self._num_changes += 1
            if len(self._changes) < _CHANGES_NAMED:
                self._changes.append(f"{statement.image.name} {how}")

    def _check_changes(self) -> None:
        if self._num_changes and self._moved_to is not None:
            raise BadInput(
                f"{self._moved_to} does not hold the images that {self._folder.url} was made from, by names, labels "
                f"and sizes ({self._num_changes:,} do not agree: {'; '.join(self._changes)}): name the place where all "
                "of them lie now"
            )
        if self._num_changes:
            raise BadInput(
                f"{self._num_changes:,} images are not as they were encoded, {'; '.join(self._changes)}: restore "
                "them, or give --on-change reencode (to encode them anew) or drop (to leave them out)"
            )

    def _plan(self, classes: Mapping[str, int]) -> Plan | None:
        parts, same = self._writer.close(), self._same.close()
        left_out, gone = (write_aside(self._folder, listed_images) for listed_images in (self._left_out, self._gone))
        if not (parts or left_out or gone or same or (self._moved_to is not None and self._plans)):
            return None
        number, first = (self._plans[-1].number + 1, self._plans[-1].next_unit) if self._plans else (1, 0)
        return Plan(
            number=number,
            unit_size=self._writer.unit_size,
            first_unit=first,
            parts=parts,
            left_out=left_out,
            gone=gone,
            same=same,
            classes=classes,
            source=self._moved_to,
        )

    def _is_passing(self, statement: "_Statement") -> bool:
        return self._encoded.is_passing(self._units[statement.unit], statement.image.name)

    def _is_published(self, unit: int) -> bool:
        return unit >= 0 and self._encoded.is_published(self._units[unit])


_LEFT_OUT, _GONE, _SAME = -1, -2, -3
"""They stand in the place of a unit's index."""
_LISTED = -(2**31)
"""The rank of what is listed: before all plans, of which the newest comes first."""
_CHANGES_NAMED = 3
_CHANGED = "changed since they were encoded"


class _Statement(NamedTuple):
    """What the listing or a plan says of an image. Of one key the listing comes first, then the newest plan."""

    order: tuple[list[str], int]
    rank: int
    unit: int
    image: ListedImage
    place: int = 0
    """The image's place in its unit."""


class _Case(NamedTuple):
    """What is to be decided of one key."""

    listed: ListedImage | None
    latest: _Statement
    older: Sequence[_Statement]
    """What older plans say, from whose units the image is dropped."""
    doubt: Doubt | None


def _is_same_but_version(listed: ListedImage, planned: ListedImage) -> bool:
    size = planned.size if 0 in (planned.size, listed.size) else listed.size  # 0: the listing does not know it.
    return listed._replace(version=planned.version, size=size) == planned


def _in_portions(cases: Iterable[_Case]) -> Iterator[list[_Case]]:
    portion: list[_Case] = []
    num_doubts = 0
    for case in cases:
        portion.append(case)
        num_doubts += case.doubt is not None
        if len(portion) == CASES_AT_ONCE or num_doubts == DOUBTS_AT_ONCE:
            yield portion
            portion, num_doubts = [], 0
    yield portion


def _statements(folder: Folder, plan: Plan) -> Iterator[Iterator[_Statement]]:
    """What a plan says, in streams that are each in order."""
    units = ((*divmod(place, plan.unit_size), image) for place, image in _numbered(folder, plan.parts))
    yield (
        _Statement(listing_order(image), -plan.number, plan.first_unit + unit, image, place)
        for unit, place, image in units
    )
    for parts, unit in (((plan.left_out,), _LEFT_OUT), ((plan.gone,), _GONE), (plan.same, _SAME)):
        there = [part for part in parts if part is not None]
        if there:
            images = (image for _, image in _numbered(folder, there))
            yield _ranked(zip(repeat(unit), images, strict=False), -plan.number)


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
