"""A unit of work becomes one whole file, which depends on the unit and the configuration alone.

It depends neither on the number of workers, nor on other units, nor on failures. So `stage.py` can take a unit for done
whose file is there and sound.
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
"""What a step gives to the next: numpy arrays, strings and numbers by name, as Ray Data can hold them."""

WRITES_AT_ONCE = 16


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A piece of work of `size` items that becomes one file. `payload` (JSON values) describes it completely.

    `dropped` names by key the items that no longer count, though the file may hold them.
    """

    index: int
    size: int
    payload: Any
    dropped: tuple[str, ...] = ()

    @property
    def num_wanted(self) -> int:
        """The number of items that count."""
        return self.size - len(self.dropped)

    @functools.cached_property
    def digest(self) -> str:
        """12 hexadecimal digits of SHA-256 over the payload, so that changed work gets another name."""
        return hashlib.sha256(json.dumps(self.payload).encode()).hexdigest()[:12]

    def to_json(self) -> str:
        """The unit as a string for a column of Ray Data."""
        return json.dumps([self.index, self.size, self.payload, self.dropped])

    @classmethod
    def from_json(cls, document: str) -> "Unit":
        """The unit that a string describes; the inverse of `to_json`."""
        index, size, payload, dropped = json.loads(document)
        return cls(index=index, size=size, payload=payload, dropped=tuple(dropped))


class Contents(NamedTuple):
    """What a unit's file says of itself: its number of rows, and what it had to leave out."""

    rows: int
    quarantined: tuple[Quarantined, ...]


@dataclass(frozen=True, kw_only=True)
class Format:
    """How a unit's finished arrays become a file, and how a file is inspected."""

    name: str
    """The name of a file, with a place for its unit: "codes-{}.parquet"."""
    pack: Callable[[Row], bytes]
    inspect: Callable[[bytes], Contents]
    """Raises BadInput if the file is damaged."""
    check: Callable[[bytes], None] = lambda _: None
    """Looks at all of a file that was found, which `inspect` may leave out. Raises BadInput, too."""
    beside: Callable[[Row], Iterable[tuple[str, bytes]]] = lambda _: ()
    """Names and contents of further files that the unit's file refers to. They are written before it."""

    def file_name(self, unit: Unit) -> str:
        """The name of a unit's file, by the unit's number and digest."""
        return unit_name(self.name, unit)


@dataclass(frozen=True, kw_only=True)
class Work(Format):
    """The steps of a unit, from its plan to its file. Each also runs without Ray, and may run again at any time.

    `read` runs in tasks beside the workers. `build` runs once in each worker; the step that it gives turns the row that
    was read into the row that becomes a file.
    """

    stage: str
    item: str
    """The plural of what a unit's size counts: "images"."""
    read: Callable[[Unit], Row]
    build: Callable[[], Callable[[Row], Row]]
    read_memory: int = 2**30
    """Bytes that reading a unit takes at most, and reserves on a cluster."""


class Receipt(NamedTuple):
    """What is known of a unit that is done: its file, and what it had to leave out."""

    file: FileEntry
    quarantined: tuple[Quarantined, ...]

    def to_json(self) -> str:
        """The receipt as a string for a column of Ray Data."""
        return json.dumps([self.file._asdict(), Quarantined.to_rows(self.quarantined)])

    @classmethod
    def from_json(cls, document: str) -> "Receipt":
        """The receipt that a string describes; the inverse of `to_json`."""
        file, quarantined = json.loads(document)
        return cls(FileEntry.of(file), Quarantined.from_rows(quarantined))


def unit_name(name: str, unit: Unit) -> str:
    """The name of a unit's file, from a name with a place for the unit."""
    return name.format(f"{unit.index:06d}-{unit.digest}")


def finish_unit(folder: Folder, form: Format, unit: Unit, row: Row) -> Receipt:
    """Writes a unit's file and gives its receipt.

    If another run has written it already, that file stays: a manifest may name it.
    """
    with ThreadPoolExecutor(WRITES_AT_ONCE) as pool:
        list(pool.map(lambda file: folder.write(*file), form.beside(row)))
    data = form.pack(row)
    name = form.file_name(unit)
    if folder.create(name, data):
        return _receipt(folder, form, unit, data)
    return inspect_unit(folder, form, unit, folder.read(name))


def find_unit(folder: Folder, form: Format, unit: Unit) -> Receipt | None:
    """The receipt of a unit, None if its file is not there.

    Raises:
        BadInput: the file is damaged.
    """
    try:
        data = folder.read(form.file_name(unit))
    except FileNotFoundError:
        return None
    return inspect_unit(folder, form, unit, data)


def inspect_unit(folder: Folder, form: Format, unit: Unit, data: bytes) -> Receipt:
    """The receipt of a unit from the content of its file, which was found.

    Raises:
        BadInput: the file is damaged.
    """
    try:
        form.check(data)
    except BadInput as error:
        raise _damaged(folder, form, unit, error) from error
    return _receipt(folder, form, unit, data)


def _receipt(folder: Folder, form: Format, unit: Unit, data: bytes) -> Receipt:
    name = form.file_name(unit)
    try:
        contents = form.inspect(data)
    except BadInput as error:
        raise _damaged(folder, form, unit, error) from error
    sha256 = hashlib.sha256(data).hexdigest()
    dropped = set(unit.dropped)
    wanted = tuple(item for item in contents.quarantined if item.key not in dropped)
    rows = contents.rows + len(contents.quarantined) - len(wanted) - len(dropped)
    return Receipt(FileEntry(name, unit.digest, rows, len(data), sha256, unit.dropped), wanted)


def _damaged(folder: Folder, form: Format, unit: Unit, error: BadInput) -> BadInput:
    return BadInput(f"{folder.path(form.file_name(unit))} is damaged ({error}): remove it and run again")
