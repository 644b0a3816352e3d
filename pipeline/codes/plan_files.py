"""A plan as files: which image is in which unit, written before the work and never changed.

`plan-000001.json` names its parts, Parquet files of images with a row group for each unit. Images that are in no unit
any more have tables of their own: one of those that are gone, one of those that were left out when they changed. So do
those that only got another version, which stay in the units where they are.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from bar_model.configuration import json_file
from bar_model.errors import BadInput, interpreting, one_line
from pipeline.execution.unit import Unit
from pipeline.images.source import ListedImage, in_portions
from pipeline.storage import Folder
from pipeline.tables import open_parquet

FORMAT, FORMAT_SINCE_COPIES = 1, 2
"""A plan that needs none of the fields of the second format is written in the first, as older versions wrote it."""
UNITS_A_PART = 256
IMAGES_READ = 4096
LONGEST_NAME = 256
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


class PlanTable(NamedTuple):
    """One table of a plan: its file, and its numbers of units and images.

    All parts of a plan but the last hold `UNITS_A_PART` units, of `unit_size` images each.
    """

    name: str
    units: int
    pictures: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one plan adds to those before it: units from `first_unit` on, and images that are in no unit any more."""

    number: int
    unit_size: int
    first_unit: int
    parts: tuple[PlanTable, ...]
    left_out: PlanTable | None
    """Images that are in the source, but are left out since they changed."""
    gone: PlanTable | None
    same: tuple[PlanTable, ...] = ()
    """Images that have another version (time, ETag), but hold the same as when they were encoded."""
    classes: Mapping[str, int] = field(default_factory=dict)
    """The numbers of the classes that this plan adds."""
    source: str | None = None
    """Where the source lies from this plan on; None where it did before."""

    @property
    def name(self) -> str:
        """The name of the plan's file."""
        return f"plan-{self.number:06d}.json"

    @property
    def next_unit(self) -> int:
        """The index of the first unit of the next plan."""
        return self.first_unit + sum(part.units for part in self.parts)

    def units(self) -> Iterator[Unit]:
        """The units of the plan; the payload of each names its part and its place in it."""
        index = self.first_unit
        for part in self.parts:
            for group in range(part.units):
                size = min(self.unit_size, part.pictures - group * self.unit_size)
                yield Unit(index=index, size=size, payload=[part.name, group])
                index += 1

    def encode(self) -> bytes:
        """The content of the plan's file."""
        more: dict[str, Any] = {}
        if self.same:
            more["same"] = [part._asdict() for part in self.same]
        if self.classes:
            more["classes"] = dict(self.classes)
        if self.source is not None:
            more["source"] = self.source
        version = FORMAT_SINCE_COPIES if more else FORMAT
        return json_file({"format": version, **_plain(self), **more})

    @classmethod
    def decode(cls, data: bytes, where: str) -> "Plan":
        """The plan that a file holds; the inverse of `encode`.

        Raises:
            BadInput: the file, `where`, is damaged or of another format.
        """
        try:
            document = json.loads(data)
            if type(version := document["format"]) is int and version > FORMAT_SINCE_COPIES:
                raise BadInput(f"{where} is of a newer format: update this software")
            if version not in (FORMAT, FORMAT_SINCE_COPIES):
                raise ValueError(f"format {version}")
            plan = cls(
                **{name: document[name] for name in ("number", "unit_size", "first_unit")},
                parts=_tables(document["parts"]),
                left_out=_table(document["left_out"]),
                gone=_table(document["gone"]),
                same=_tables(document.get("same", [])),
                classes=dict(document.get("classes", {})),
                source=document.get("source"),
            )
            plan._check()
        except BadInput:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BadInput(f"{where} is damaged ({one_line(error)}): restore it, or make the folder anew") from error
        return plan

    def _check(self) -> None:
        numbers = [self.number, self.unit_size, self.first_unit + 1, *self.classes.values()]
        tables = [*self.parts, *self.same, *(table for table in (self.left_out, self.gone) if table is not None)]
        numbers += [number for table in tables for number in (table.units, table.pictures)]
        if not all(type(number) is int and number >= 0 for number in numbers) or not self.unit_size:
            raise ValueError("a number of it is none")
        if any(part.units != -(-part.pictures // self.unit_size) for part in self.parts):
            raise ValueError("its units and pictures do not agree")
        texts = [self.source or "", *self.classes, *(table.name for table in tables)]
        if not all(isinstance(text, str) for text in texts) or any("/" in table.name for table in tables):
            raise ValueError("a name of it is none")
        if not all(table.name.isprintable() and 0 < len(table.name) < LONGEST_NAME for table in tables):
            raise ValueError("a name of it is that of no file")


def read_plans(folder: Folder) -> list[Plan]:
    """The plans of a folder, in their order.

    Raises:
        BadInput: one is damaged or of another format.
    """
    names = [entry.name for entry in folder.list("plan-*.json") if re.fullmatch(r"plan-\d{6}\.json", entry.name)]
    return [Plan.decode(folder.read(name), folder.path(name)) for name in names]


def check_sequence(folder: Folder, plans: Sequence[Plan]) -> None:
    """Checks that no plan is missing: each goes on where the one before ends.

    Raises:
        BadInput: one is missing, or damaged.
    """
    first_unit = 0
    for number, plan in enumerate(plans, 1):
        if (plan.number, plan.first_unit) != (number, first_unit):
            raise BadInput(
                f"{folder.url}: the plans do not follow each other ({plan.name} is not number {number} from unit "
                f"{first_unit} on): restore the one that is missing or damaged, or make the folder anew"
            )
        first_unit = plan.next_unit


def read_unit(folder: Folder, unit: Unit) -> list[ListedImage]:
    """The images of a unit.

    Raises:
        BadInput: its part is missing or damaged.
    """
    name, group = unit.payload
    with _opened(folder, name) as table, _interpreting(folder, name):
        images = _images(table.read_row_group(group))
    if len(images) != unit.size:
        raise BadInput(f"{folder.path(name)} has {len(images)} images in a unit of {unit.size}: restore it")
    return images


class PlanWriter:
    """Writes images into the parts of a new plan, each as soon as it is full."""

    def __init__(self, folder: Folder, unit_size: int) -> None:
        self.unit_size = unit_size
        self._folder = folder
        self._parts: list[PlanTable] = []
        self._waiting: list[ListedImage] = []

    def add(self, image: ListedImage) -> None:
        """Adds an image, and writes a part as soon as it is full."""
        self._waiting.append(image)
        if len(self._waiting) == self.unit_size * UNITS_A_PART:
            self._end_part()

    def close(self) -> tuple[PlanTable, ...]:
        """Writes the last part, and gives all of them."""
        if self._waiting:
            self._end_part()
        return tuple(self._parts)

    def _end_part(self) -> None:
        self._parts.append(_write_part(self._folder, self._waiting, self.unit_size))
        self._waiting = []


def _write_part(folder: Folder, listed: Sequence[ListedImage], group_size: int) -> PlanTable:
    """Writes a table named by its content, so that another run that writes it writes the same file."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, _SCHEMA, compression="zstd", write_statistics=False) as writer:
        for portion in in_portions(listed, group_size):
            columns = zip(*portion, strict=True)
            writer.write_table(
                pa.table([pa.array(column, kind) for column, kind in zip(columns, _SCHEMA.types, strict=True)], _SCHEMA)
            )
    data = sink.getvalue().to_pybytes()
    name = _part_name(data)
    folder.create(name, data)
    return PlanTable(name, -(-len(listed) // group_size), len(listed))


def write_aside(folder: Folder, listed: Sequence[ListedImage]) -> PlanTable | None:
    """Writes a table of images that are in no unit any more; None if there are none."""
    return _write_part(folder, listed, IMAGES_READ) if listed else None


def stream_part(folder: Folder, part: PlanTable) -> Iterator[ListedImage]:
    """The images of a table in their order, some of them in memory at a time.

    Raises:
        BadInput: the table is missing or damaged.
    """
    num = 0
    with _opened(folder, part.name) as table, _interpreting(folder, part.name):
        for batch in table.iter_batches(IMAGES_READ):
            images = _images(batch)
            num += len(images)
            yield from images
    if num != part.pictures:
        raise BadInput(f"{folder.path(part.name)} has {num} images, its plan says {part.pictures}: restore it")


def _images(rows: pa.Table | pa.RecordBatch) -> list[ListedImage]:
    columns = [column.to_pylist() for column in rows.columns]
    return [ListedImage(*values) for values in zip(*columns, strict=True)]


def _interpreting(folder: Folder, name: str) -> AbstractContextManager[None]:
    return interpreting(f"{folder.path(name)} is no part of a plan, or damaged", "restore it")


def _opened(folder: Folder, name: str) -> pq.ParquetFile:
    """A table of a plan, whole in memory: some megabytes."""
    where = folder.path(name)
    try:
        data = folder.read(name)
    except FileNotFoundError as error:
        raise BadInput(f"{where} is missing, and with it what was planned: restore it") from error
    table = open_parquet(pa.BufferReader(data), where, kind="part of a plan")
    if _part_name(data) != name:
        raise BadInput(f"{where} is no part of a plan, or damaged (its content is not what its name says): restore it")
    if not table.schema_arrow.equals(_SCHEMA):
        raise BadInput(f"{where} has columns {table.schema_arrow.names} of other types than a plan has: restore it")
    return table


def _table(fields: Mapping[str, Any] | None) -> PlanTable | None:
    return PlanTable(**fields) if fields is not None else None


def _tables(many: Sequence[Mapping[str, Any]]) -> tuple[PlanTable, ...]:
    return tuple(PlanTable(**fields) for fields in many)


def _part_name(data: bytes) -> str:
    return f"pictures-{hashlib.sha256(data).hexdigest()[:16]}.parquet"


def _plain(plan: Plan) -> dict[str, Any]:
    return {
        "number": plan.number,
        "unit_size": plan.unit_size,
        "first_unit": plan.first_unit,
        "parts": [part._asdict() for part in plan.parts],
        "left_out": plan.left_out._asdict() if plan.left_out else None,
        "gone": plan.gone._asdict() if plan.gone else None,
    }
