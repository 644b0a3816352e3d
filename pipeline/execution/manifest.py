"""The manifest of a folder: written last, it alone says what a finished stage made."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from bar_model.configuration import json_file
from bar_model.errors import BadInput, one_line
from pipeline.redaction import redacted_values
from pipeline.storage import Folder

FORMAT = 2
STAGE_FILE = "stage.json"
LONGEST_NAME = 256
DIFFERENCES_NAMED = 8


class FileEntry(NamedTuple):
    """One file of a stage. `unit` is the digest of the unit that it was made from.

    Files never change. Items of a file that no longer count are named by key in `dropped`; `rows` leaves them out.
    """

    name: str
    unit: str
    rows: int
    bytes: int
    sha256: str
    dropped: tuple[str, ...] = ()

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "FileEntry":
        """The entry that JSON values describe; the inverse of `_asdict`.

        Raises:
            KeyError, TypeError: they describe none.
        """
        entry = cls(**{**fields, "dropped": tuple(fields["dropped"])})
        texts, numbers = (entry.name, entry.unit, entry.sha256, *entry.dropped), (entry.rows, entry.bytes)
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("names and digests of files are strings")
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise TypeError("rows and bytes of files are whole numbers")
        return entry


class Quarantined(NamedTuple):
    """An input that could not be used: its key, where it lies, and why."""

    key: str
    where: str
    why: str
    passing: bool = False
    """Whether the reason may pass, as that of a server which does not answer: the next run tries it again."""

    @staticmethod
    def to_rows(items: "Iterable[Quarantined]") -> list[list[Any]]:
        """JSON lists of three strings, and `true` behind those of a reason that may pass."""
        return [list(item) if item.passing else list(item[:3]) for item in items]

    @classmethod
    def from_rows(cls, rows: Iterable[Sequence[Any]]) -> "tuple[Quarantined, ...]":
        """The quarantined inputs that JSON lists describe; the inverse of `to_rows`.

        Raises:
            TypeError: they are no such lists.
        """
        items = tuple(cls(*row) for row in rows)
        if not all(isinstance(text, str) for item in items for text in item[:3]):
            raise TypeError("quarantined inputs are lists of strings")
        if not all(isinstance(item.passing, bool) for item in items):
            raise TypeError("whether a reason may pass is true or false")
        return items


class Inputs(NamedTuple):
    """What a stage worked on: the number of items, and a digest over all of them (names, sizes, ETags or times)."""

    num: int
    digest: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a stage made, in the order of its units. A generation adds units to the one before and removes none.

    `quarantine` is the table of the inputs that could not be used (pipeline/execution/quarantine.py), None for none.
    """

    stage: str
    generation: int
    configuration: Mapping[str, Any]
    inputs: Inputs
    files: tuple[FileEntry, ...]
    quarantine: FileEntry | None = None

    @property
    def name(self) -> str:
        """The name of the manifest's file in its folder."""
        return f"manifest-{self.generation:06d}.json"

    @property
    def rows(self) -> int:
        """The number of rows in all files."""
        return sum(file.rows for file in self.files)

    @property
    def num_bytes(self) -> int:
        """The size of all files together."""
        return sum(file.bytes for file in self.files)

    @property
    def num_quarantined(self) -> int:
        """The number of inputs that could not be used."""
        return self.quarantine.rows if self.quarantine is not None else 0

    @property
    def fingerprint(self) -> str:
        """A name for the stage's output: 16 hexadecimal digits of SHA-256 over all that the manifest says."""
        canonical = json.dumps(self._document(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @staticmethod
    def newest(folder: Folder) -> "Manifest | None":
        """The manifest of the highest generation, None where there is none.

        Raises:
            BadInput: it is damaged.
        """
        names = [
            entry.name for entry in folder.list("manifest-*.json") if re.fullmatch(r"manifest-\d{6}\.json", entry.name)
        ]
        return Manifest.decode(folder.read(names[-1]), folder.path(names[-1])) if names else None

    @staticmethod
    def read(folder: Folder, *, stage: str | None = None, what: str = "") -> "Manifest":
        """The manifest of the highest generation.

        With `stage`, the folder must have been made by it; `what` then says in an error what it makes ("codes").

        Raises:
            BadInput: the folder or its manifest is missing, the manifest is damaged, or another stage has made it.
        """
        manifest = Manifest.newest(folder)
        if manifest is None:
            if not folder.exists():
                raise BadInput(f"{folder.url} is not there: check the path, or run the stage that makes it")
            raise BadInput(f"{folder.url} holds no manifest: the stage that makes it has not finished; run it again")
        if stage not in (None, manifest.stage):
            raise BadInput(f"{folder.url} was made by the stage {manifest.stage!r}: give a folder of {what}")
        for file in manifest.files if stage is not None else ():
            if file.rows > file.bytes:  # Readers take memory for the rows before they read.
                raise _damaged(folder.path(manifest.name), f"{file.rows:,} rows in {file.bytes:,} bytes")
        return manifest

    def commit(self, folder: Folder) -> "Manifest":
        """Publishes this as the next generation, unless another run has published all of it already.

        Gives the manifest that is in place afterwards.

        Raises:
            BadInput: what is published neither holds all of this nor is held by it.
        """
        shown = replace(self, configuration=self._shown)
        while True:
            newest = Manifest.newest(folder)
            if newest is not None and newest.holds(shown):
                return newest
            if newest is not None and not shown.holds(newest):
                raise BadInput(
                    f"{folder.path(newest.name)}: another run published something else ({newest.fingerprint}, this "
                    f"run has {shown.fingerprint}): run again, to add to what is there"
                )
            mine = replace(shown, generation=newest.generation + 1 if newest is not None else 1)
            if folder.create(mine.name, mine.encode()):
                return mine

    def holds(self, other: "Manifest") -> bool:
        """Whether this manifest equals the other but for the generation, or has added units or dropped items."""
        if self.fingerprint == replace(other, generation=self.generation).fingerprint:
            return True
        if self.stage != other.stage or self._shown != other._shown:
            return False
        mine = {file.name: file for file in self.files}
        added = len(self.files) - len(other.files)
        for theirs in other.files:
            file = mine.get(theirs.name)
            if file is None or (file.unit, file.sha256) != (theirs.unit, theirs.sha256):
                return False
            if not set(theirs.dropped) <= set(file.dropped):
                return False
            added += len(file.dropped) - len(theirs.dropped)
        return added > 0

    @property
    def _shown(self) -> Any:
        """The configuration without the secrets that folders of older versions have in it."""
        return redacted_values(self.configuration)

    def encode(self) -> bytes:
        """The content of the manifest's file: JSON that can be read without this code."""
        document = {"format": FORMAT, "fingerprint": self.fingerprint, **self._document()}
        return json_file(document)

    @staticmethod
    def decode(data: bytes, where: str) -> "Manifest":
        """The manifest that a file holds; the inverse of `encode`.

        Raises:
            BadInput: the file, `where`, is damaged or of another format.
        """
        document = _document(data, where)
        try:
            manifest = Manifest(
                stage=document["stage"],
                generation=document["generation"],
                configuration=document["configuration"],
                inputs=Inputs(**document["inputs"]),
                files=tuple(FileEntry.of(file) for file in document["files"]),
                quarantine=FileEntry.of(document["quarantine"]) if document["quarantine"] is not None else None,
            )
            intact = manifest.fingerprint == document["fingerprint"]
            if type(manifest.generation) is not int or not isinstance(manifest.configuration, dict):
                raise TypeError("its generation is no number, or its configuration no object")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _damaged(where, error) from error
        if not intact:
            raise _damaged(where, "its fingerprint does not fit")
        return manifest

    def _document(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "generation": self.generation,
            "configuration": self.configuration,
            "inputs": self.inputs._asdict(),
            "files": [file._asdict() for file in self.files],
            "quarantine": self.quarantine._asdict() if self.quarantine is not None else None,
        }


def read_checked(
    folder: Folder, file: FileEntry, *, remedy: str = "run the stage again, which makes what is missing"
) -> bytes:
    """The content of a file that a manifest names.

    Raises:
        BadInput: the file is missing (`remedy` says in the message what to do), or its checksum differs.
    """
    where = folder.path(file.name)
    if not file.name.isprintable() or not 0 < len(file.name) < LONGEST_NAME:
        raise BadInput(f"{where} is no name of a file: restore the manifest, or make the folder anew")
    try:
        data = folder.read(file.name)
    except FileNotFoundError as error:
        raise BadInput(f"{where} is missing: {remedy}") from error
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise BadInput(f"{where} is not the file that the manifest names (its checksum differs): restore it")
    return data


def open_stage(folder: Folder, stage: str, configuration: Mapping[str, Any], *, claim: bool = True) -> Manifest | None:
    """Claims a folder for a stage with the configuration of its files, and gives its newest manifest, if any.

    URLs in the configuration are kept and compared without their secrets, which change while their files do not.
    Without `claim`, a folder that no stage has claimed stays unclaimed.

    Raises:
        BadInput: the folder was made by another stage or configuration; the message names what differs.
    """
    if not (claim_stage(folder, stage, configuration) if claim else not folder.exists(STAGE_FILE)):
        there = _read_claim(folder)
        differences = list(_differences(redacted_values(there), json.loads(_claim(stage, configuration))))
        if differences:
            more = (
                f"; and {len(differences) - DIFFERENCES_NAMED:,} more" if len(differences) > DIFFERENCES_NAMED else ""
            )
            raise BadInput(
                f"{folder.url} was made with another configuration ({'; '.join(differences[:DIFFERENCES_NAMED])}{more})"
                ": choose another output folder, or the configuration that it was made with"
            )
    return Manifest.newest(folder)


def claim_stage(folder: Folder, stage: str, configuration: Mapping[str, Any]) -> bool:
    """Claims a folder that no stage has claimed, and gives whether it did."""
    return folder.create(STAGE_FILE, _claim(stage, configuration))


def replace_claim(folder: Folder, stage: str, configuration: Mapping[str, Any]) -> None:
    """Claims a folder anew with another configuration; who calls this answers for what the folder holds."""
    folder.write(STAGE_FILE, _claim(stage, configuration))


def claimed_configuration(folder: Folder, stage: str) -> Mapping[str, Any] | None:
    """The configuration of the stage that has claimed a folder; None where this stage has not.

    Raises:
        BadInput: the claim is damaged.
    """
    if not folder.exists(STAGE_FILE):
        return None
    claim = _read_claim(folder)
    return claim["configuration"] if claim["stage"] == stage else None


def _claim(stage: str, configuration: Mapping[str, Any]) -> bytes:
    document = {"format": FORMAT, "stage": stage, "configuration": redacted_values(configuration)}
    return json_file(document, sort_keys=True)


def _read_claim(folder: Folder) -> dict[str, Any]:
    where = folder.path(STAGE_FILE)
    document = _document(folder.read(STAGE_FILE), where)
    if not isinstance(document.get("stage"), str) or not isinstance(document.get("configuration"), dict):
        raise _damaged(where, "it names no stage and configuration")
    return document


def _document(data: bytes, where: str) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _damaged(where, error) from error
    if not isinstance(document, dict) or type(version := document.get("format")) is not int:
        raise _damaged(where, "it has no format")
    if version != FORMAT:
        remedy = "make the folder anew" if version in range(1, FORMAT) else "update this software"
        raise BadInput(f"{where} has format {version}, but this version reads {FORMAT}: {remedy}")
    return document


def _damaged(where: str, why: object) -> BadInput:
    return BadInput(f"{where} is damaged ({one_line(str(why))}): restore it, or make the folder anew")


def _differences(there: object, here: object, name: str = "") -> Iterator[str]:
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted(there.keys() | here.keys()):
            yield from _differences(there.get(key), here.get(key), f"{name}.{key}" if name else key)
    elif there != here:
        yield f"{name.removeprefix('configuration.')}: {json.dumps(there)} there, {json.dumps(here)} here"
