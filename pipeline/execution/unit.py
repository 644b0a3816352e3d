"""A unit of work becomes one whole file, which depends on the unit and the configuration alone.

Not on the number of workers, not on what else is done, not on what failed: a unit whose file is there is done.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

from bar_model.errors import BadInput
from pipeline.execution.manifest import FileEntry, Quarantined
from pipeline.storage import Folder

Row = dict[str, Any]
"""What a step hands to the next: numpy arrays, strings and numbers by name, as Ray Data can hold them."""

WRITES_AT_ONCE = 16


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A piece of work that becomes one file. `payload` (JSON values) says all that the work needs to know.

    `dropped` names by key the items that no longer count, whatever the file holds of them.
    """

    index: int
    size: int
    payload: Any
    dropped: tuple[str, ...] = ()

    @property
    def num_wanted(self) -> int:
        return self.size - len(self.dropped)

    @functools.cached_property
    def digest(self) -> str:
        """12 hexadecimal digits of SHA-256 over the payload: work that changed has another name."""
        return hashlib.sha256(json.dumps(self.payload).encode()).hexdigest()[:12]

    def to_json(self) -> str:
        return json.dumps([self.index, self.size, self.payload, self.dropped])

    @classmethod
    def from_json(cls, document: str) -> "Unit":
        index, size, payload, dropped = json.loads(document)
        return cls(index=index, size=size, payload=payload, dropped=tuple(dropped))


class Contents(NamedTuple):
    """What a unit's file says of itself."""

    rows: int
    quarantined: tuple[Quarantined, ...]


@dataclass(frozen=True, kw_only=True)
class Format:
    """How a unit's last row becomes a file, and what a file says of itself (BadInput where it is damaged)."""

    name: str
    """Of the files: "codes-{}.parquet"."""
    pack: Callable[[Row], bytes]
    inspect: Callable[[bytes], Contents]
    beside: Callable[[Row], Iterable[tuple[str, bytes]]] = lambda _: ()
    """Names and contents of further files, of which the unit's own tells: they are in place before it."""

    def file_name(self, unit: Unit) -> str:
        return self.name.format(f"{unit.index:06d}-{unit.digest}")


@dataclass(frozen=True, kw_only=True)
class Work(Format):
    """The steps of a unit, from its plan to its file; each runs without Ray, too, and may be run again at any time.

    `read` runs in tasks beside the workers; `build` runs once in each worker, and gives what turns the row that was
    read into the one that becomes a file.
    """

    stage: str
    item: str
    """What a unit's size counts, in the plural: "images"."""
    read: Callable[[Unit], Row]
    build: Callable[[], Callable[[Row], Row]]


class Receipt(NamedTuple):
    """What is known of a unit that is done."""

    file: FileEntry
    quarantined: tuple[Quarantined, ...]

    def to_json(self) -> str:
        return json.dumps([self.file._asdict(), self.quarantined])

    @classmethod
    def from_json(cls, document: str) -> "Receipt":
        file, quarantined = json.loads(document)
        return cls(FileEntry.of(file), Quarantined.from_rows(quarantined))


def finish_unit(folder: Folder, form: Format, unit: Unit, row: Row) -> Receipt:
    """Puts a unit's file in place. Where another run was faster, its file stays: a manifest may name it already."""
    with ThreadPoolExecutor(WRITES_AT_ONCE) as pool:
        list(pool.map(lambda file: folder.write(*file), form.beside(row)))
    data = form.pack(row)
    name = form.file_name(unit)
    return inspect_unit(folder, form, unit, data if folder.create(name, data) else folder.read(name))


def find_unit(folder: Folder, form: Format, unit: Unit) -> Receipt | None:
    """The receipt of a unit whose file is there; BadInput where it is damaged."""
    try:
        data = folder.read(form.file_name(unit))
    except FileNotFoundError:
        return None
    return inspect_unit(folder, form, unit, data)


def inspect_unit(folder: Folder, form: Format, unit: Unit, data: bytes) -> Receipt:
    """What the unit's file says of itself; BadInput where it is damaged."""
    name = form.file_name(unit)
    try:
        contents = form.inspect(data)
    except BadInput as error:
        raise BadInput(f"{folder.path(name)} is damaged ({error}): remove it and run again") from error
    sha256 = hashlib.sha256(data).hexdigest()
    dropped = set(unit.dropped)
    wanted = tuple(item for item in contents.quarantined if item.key not in dropped)
    rows = contents.rows + len(contents.quarantined) - len(wanted) - len(dropped)
    return Receipt(FileEntry(name, unit.digest, rows, len(data), sha256, unit.dropped), wanted)
