"""A plan as files: which image is in which unit, written before the work and never changed.

`plan-000001.json` names its parts, Parquet files of images with a row group for each unit. Images that are in no unit
any more have tables of their own: one of those that are gone, one of those that were left out when they changed.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from bar_model.errors import BadInput
from pipeline.execution.unit import Unit
from pipeline.images.source import ListedImage, in_portions
from pipeline.storage import Folder
from pipeline.tables import open_parquet

FORMAT = 1
UNITS_A_PART = 256
IMAGES_READ = 4096
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
        return (json.dumps({"format": FORMAT, **_plain(self)}, indent=1) + "\n").encode()

    @classmethod
    def decode(cls, data: bytes, where: str) -> "Plan":
        """The plan that a file holds; the inverse of `encode`.

        Raises:
            BadInput: the file, `where`, is damaged or of another format.
        """
        try:
            document = json.loads(data)
            if document.pop("format") != FORMAT:
                raise BadInput(f"{where} is of a newer format: update this software")
            parts, left_out, gone = (document.pop(name) for name in ("parts", "left_out", "gone"))
            return cls(
                **document,
                parts=tuple(PlanTable(**part) for part in parts),
                left_out=PlanTable(**left_out) if left_out else None,
                gone=PlanTable(**gone) if gone else None,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, BadInput):
                raise
            raise BadInput(f"{where} is damaged ({error}): restore it, or make the folder anew") from error


def read_plans(folder: Folder) -> list[Plan]:
    """The plans of a folder, in their order.

    Raises:
        BadInput: one is damaged or of another format.
    """
    names = [entry.name for entry in folder.list("plan-*.json") if re.fullmatch(r"plan-\d{6}\.json", entry.name)]
    return [Plan.decode(folder.read(name), folder.path(name)) for name in names]


def read_unit(folder: Folder, unit: Unit) -> list[ListedImage]:
    """The images of a unit.

    Raises:
        BadInput: its part is missing or damaged.
    """
    name, group = unit.payload
    with _opened(folder, name) as table:
        return _images(table.read_row_group(group))


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
    name = f"pictures-{hashlib.sha256(data).hexdigest()[:16]}.parquet"
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
    with _opened(folder, part.name) as table:
        for batch in table.iter_batches(IMAGES_READ):
            yield from _images(batch)


def _images(rows: pa.Table | pa.RecordBatch) -> list[ListedImage]:
    columns = [column.to_pylist() for column in rows.columns]
    return [ListedImage(*values) for values in zip(*columns, strict=True)]


def _opened(folder: Folder, name: str) -> pq.ParquetFile:
    """A table of a plan, whole in memory: some megabytes."""
    where = folder.path(name)
    try:
        table = open_parquet(pa.BufferReader(folder.read(name)), where, kind="part of a plan")
    except FileNotFoundError as error:
        raise BadInput(f"{where} is missing, and with it what was planned: restore it") from error
    if not table.schema_arrow.equals(_SCHEMA):
        raise BadInput(f"{where} has columns {table.schema_arrow.names} of other types than a plan has: restore it")
    return table


def _plain(plan: Plan) -> dict[str, Any]:
    return {
        "number": plan.number,
        "unit_size": plan.unit_size,
        "first_unit": plan.first_unit,
        "parts": [part._asdict() for part in plan.parts],
        "left_out": plan.left_out._asdict() if plan.left_out else None,
        "gone": plan.gone._asdict() if plan.gone else None,
    }
