"""Which picture is in which unit: plans in the output folder, each adding to those before what its source gained.

A plan is written before its units are worked on, and never changes. So a run that was killed is taken up with the very
same units, however the source has grown meanwhile; of two runs at once one makes the plan and the other takes it; and
what a source has gained, lost or changed is found by walking through its listing and all plans side by side, in the
order of the pictures' keys, a few in memory at a time.

`plan-000001.json` names its parts, Parquet files of pictures with a row group for each unit. Pictures that are in no
unit any more have a table of their own: those that are gone, and those that were left out when they changed.
"""

import hashlib
import heapq
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, repeat
from operator import itemgetter
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from bar_model.errors import BadInput
from pipeline.manifest import Manifest, open_stage
from pipeline.source import Picture, Source, in_portions, order
from pipeline.storage import Folder
from pipeline.units import Unit

OnChange = Literal["stop", "reencode", "drop"]

FORMAT = 1
UNITS_A_PART = 256
PICTURES_READ = 4096
_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("label", pa.int32()),
        ("size", pa.int64()),
        ("version", pa.string()),
        ("at", pa.int64()),
        ("problem", pa.string()),
        ("again", pa.int32()),
    ]
)


class Part(NamedTuple):
    """A table of pictures. Of a plan's parts all but the last hold `UNITS_A_PART` units, of `unit_size` pictures."""

    name: str
    units: int
    pictures: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one plan adds: units from `first_unit` on, and pictures that are in no unit any more."""

    number: int
    unit_size: int
    first_unit: int
    parts: tuple[Part, ...]
    left_out: Part | None
    """Pictures that are there, but not wanted since they changed."""
    gone: Part | None

    @property
    def name(self) -> str:
        return f"plan-{self.number:06d}.json"

    @property
    def next_unit(self) -> int:
        return self.first_unit + sum(part.units for part in self.parts)

    def units(self) -> Iterator[Unit]:
        """A payload names a part and the place of a unit in it."""
        index = self.first_unit
        for part in self.parts:
            for group in range(part.units):
                size = min(self.unit_size, part.pictures - group * self.unit_size)
                yield Unit(index=index, size=size, payload=[part.name, group])
                index += 1

    def encode(self) -> bytes:
        return (json.dumps({"format": FORMAT, **_plain(self)}, indent=1) + "\n").encode()

    @classmethod
    def decode(cls, data: bytes, where: str) -> "Plan":
        """BadInput where the file is damaged, or of another format."""
        try:
            document = json.loads(data)
            if document.pop("format") != FORMAT:
                raise BadInput(f"{where} is of a newer format: update this software")
            parts, left_out, gone = (document.pop(name) for name in ("parts", "left_out", "gone"))
            return cls(
                **document,
                parts=tuple(Part(**part) for part in parts),
                left_out=Part(**left_out) if left_out else None,
                gone=Part(**gone) if gone else None,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, BadInput):
                raise
            raise BadInput(f"{where} is damaged ({error}): restore it, or make the folder anew") from error


def plan_units(
    folder: Folder, stage: str, configuration: Mapping[str, Any], source: Source, unit_size: int, *, on_change: OnChange
) -> list[Unit]:
    """The units of all plans; pictures that are in none make a plan of their own first, in the folder of the stage.

    BadInput where the folder is another's, where the source has no pictures, and where one that was published has
    changed or is gone, unless `on_change` says what becomes of it: `reencode` takes it as it is now, `drop` leaves it
    out. What was planned but never published may change freely.
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


def read_plans(folder: Folder) -> list[Plan]:
    """The plans of a folder, in their order."""
    names = [entry.name for entry in folder.list("plan-*.json") if re.fullmatch(r"plan-\d{6}\.json", entry.name)]
    return [Plan.decode(folder.read(name), folder.path(name)) for name in names]


def read_unit(folder: Folder, unit: Unit) -> list[Picture]:
    """The pictures of a unit; BadInput where its part is missing or damaged."""
    name, group = unit.payload
    with _opened(folder, name) as table:
        return _pictures(table.read_row_group(group))


class _Comparison:
    """A source's listing beside all plans."""

    def __init__(
        self, folder: Folder, plans: Sequence[Plan], published: Manifest | None, unit_size: int, on_change: OnChange
    ) -> None:
        self._folder, self._plans, self._on_change = folder, plans, on_change
        self._published = {file.unit for file in published.files} if published is not None else set()
        self._units = [unit for plan in plans for unit in plan.units()]
        self._dropped: dict[int, list[str]] = {}
        self._writer = _Writer(folder, unit_size)
        self._left_out: list[Picture] = []
        self._gone: list[Picture] = []
        self._offences: list[str] = []
        self._num_offences = 0

    def run(self, source: Source) -> Plan | None:
        """The plan that has to be added, if any."""
        records = [_records(self._folder, plan) for plan in self._plans]
        listing = (_Told(order(picture), _LISTED, _GONE, picture) for picture in _in_order(source.pictures()))
        merged = heapq.merge(listing, *chain.from_iterable(records), key=itemgetter(0, 1))
        for _, group in groupby(merged, key=itemgetter(0)):
            self._compare(list(group))
        if self._num_offences:
            raise BadInput(
                f"{self._num_offences:,} images are not as they were encoded, {'; '.join(self._offences)}: restore "
                "them, or give --on-change reencode (to encode them anew) or drop (to leave them out)"
            )
        parts = self._writer.close()
        left_out, gone = (_write_aside(self._folder, pictures) for pictures in (self._left_out, self._gone))
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
    picture: Picture


class _Writer:
    """Pictures -> parts, as soon as they are full."""

    def __init__(self, folder: Folder, unit_size: int) -> None:
        self.unit_size = unit_size
        self._folder = folder
        self._parts: list[Part] = []
        self._waiting: list[Picture] = []

    def add(self, picture: Picture) -> None:
        self._waiting.append(picture)
        if len(self._waiting) == self.unit_size * UNITS_A_PART:
            self._end_part()

    def close(self) -> tuple[Part, ...]:
        if self._waiting:
            self._end_part()
        return tuple(self._parts)

    def _end_part(self) -> None:
        self._parts.append(_write_part(self._folder, self._waiting, self.unit_size))
        self._waiting = []


def _write_part(folder: Folder, pictures: Sequence[Picture], group_size: int) -> Part:
    """Named by its content: whoever else writes it writes the same."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, _SCHEMA, compression="zstd", write_statistics=False) as writer:
        for portion in in_portions(pictures, group_size):
            columns = zip(*portion, strict=True)
            writer.write_table(
                pa.table([pa.array(column, kind) for column, kind in zip(columns, _SCHEMA.types, strict=True)], _SCHEMA)
            )
    data = sink.getvalue().to_pybytes()
    name = f"pictures-{hashlib.sha256(data).hexdigest()[:16]}.parquet"
    folder.create(name, data)
    return Part(name, -(-len(pictures) // group_size), len(pictures))


def _write_aside(folder: Folder, pictures: Sequence[Picture]) -> Part | None:
    return _write_part(folder, pictures, PICTURES_READ) if pictures else None


def _records(folder: Folder, plan: Plan) -> Iterator[Iterator[_Told]]:
    """What a plan tells, in streams that are each in order."""
    units = ((plan.first_unit + place // plan.unit_size, picture) for place, picture in _numbered(folder, plan.parts))
    yield _ranked(units, -plan.number)
    for part, unit in ((plan.left_out, _LEFT_OUT), (plan.gone, _GONE)):
        if part is not None:
            yield _ranked(zip(repeat(unit), _streamed(folder, part), strict=False), -plan.number)


def _ranked(pictures: Iterable[tuple[int, Picture]], rank: int) -> Iterator[_Told]:
    return (_Told(order(picture), rank, unit, picture) for unit, picture in pictures)


def _numbered(folder: Folder, parts: Sequence[Part]) -> Iterator[tuple[int, Picture]]:
    return enumerate(picture for part in parts for picture in _streamed(folder, part))


def _streamed(folder: Folder, part: Part) -> Iterator[Picture]:
    with _opened(folder, part.name) as table:
        for batch in table.iter_batches(PICTURES_READ):
            yield from _pictures(batch)


def _pictures(rows: pa.Table | pa.RecordBatch) -> list[Picture]:
    columns = [column.to_pylist() for column in rows.columns]
    return [Picture(*values) for values in zip(*columns, strict=True)]


def _opened(folder: Folder, name: str) -> pq.ParquetFile:
    """A part, whole in memory: some megabytes."""
    where = folder.path(name)
    try:
        return pq.ParquetFile(pa.BufferReader(folder.read(name)))
    except FileNotFoundError as error:
        raise BadInput(f"{where} is missing, without which nobody knows what was planned: restore it") from error
    except pa.ArrowException as error:
        raise BadInput(f"{where} is damaged ({' '.join(str(error).split())}): restore it") from error


def _in_order(pictures: Iterable[Picture]) -> Iterator[Picture]:
    previous = None
    for picture in pictures:
        if previous is not None and not order(previous) < order(picture):
            raise ValueError(f"a source must list in order, but {picture.name!r} came after {previous.name!r}")
        previous = picture
        yield picture


def _plain(plan: Plan) -> dict[str, Any]:
    return {
        "number": plan.number,
        "unit_size": plan.unit_size,
        "first_unit": plan.first_unit,
        "parts": [part._asdict() for part in plan.parts],
        "left_out": plan.left_out._asdict() if plan.left_out else None,
        "gone": plan.gone._asdict() if plan.gone else None,
    }
