"""The manifest of a folder: written last, it alone says what a finished stage made."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from bar_model.errors import BadInput
from pipeline.storage import Folder

FORMAT = 1
STAGE_FILE = "stage.json"


class FileEntry(NamedTuple):
    """One file of a stage. `unit` is the unit's digest: what went in, as the plan names it."""

    name: str
    unit: str
    rows: int
    bytes: int
    sha256: str


class Quarantined(NamedTuple):
    """An input that could not be used: its key, where it lies, and why."""

    key: str
    where: str
    why: str


class Inputs(NamedTuple):
    """What a stage worked on: the number of items, and a digest over all of them (names, sizes, ETags or times)."""

    num: int
    digest: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a stage made, in the order of its units. A generation adds units to the one before and removes none."""

    stage: str
    generation: int
    configuration: Mapping[str, Any]
    inputs: Inputs
    files: tuple[FileEntry, ...]
    quarantined: tuple[Quarantined, ...]

    @property
    def name(self) -> str:
        return f"manifest-{self.generation:06d}.json"

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files)

    @property
    def num_bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of SHA-256 over everything that the manifest says: a name for the stage's output."""
        canonical = json.dumps(self._document(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @staticmethod
    def newest(folder: Folder) -> "Manifest | None":
        """The manifest of the highest generation; None where there is none. BadInput where it is damaged."""
        names = [
            entry.name for entry in folder.list("manifest-*.json") if re.fullmatch(r"manifest-\d{6}\.json", entry.name)
        ]
        return Manifest.decode(folder.read(names[-1]), folder.path(names[-1])) if names else None

    @staticmethod
    def read(folder: Folder) -> "Manifest":
        """The manifest of the highest generation; BadInput where there is none, or it is damaged."""
        manifest = Manifest.newest(folder)
        if manifest is None:
            if not folder.exists():
                raise BadInput(f"{folder.url} is not there: check the path, or run the stage that makes it")
            raise BadInput(f"{folder.url} holds no manifest: the stage that makes it has not finished; run it again")
        return manifest

    def commit(self, folder: Folder) -> "Manifest":
        """Publishes this generation, or takes another run's that says the same; BadInput where it says otherwise."""
        if folder.create(self.name, self.encode()):
            return self
        there = Manifest.decode(folder.read(self.name), folder.path(self.name))
        if there.fingerprint != self.fingerprint:
            raise BadInput(
                f"{folder.path(self.name)}: another run published something else ({there.fingerprint}, this run has "
                f"{self.fingerprint}): run again, to add to what is there"
            )
        return there

    def encode(self) -> bytes:
        """The manifest's file, which can be read without this code."""
        document = {"format": FORMAT, "fingerprint": self.fingerprint, **self._document()}
        return (json.dumps(document, indent=1) + "\n").encode()

    @staticmethod
    def decode(data: bytes, where: str) -> "Manifest":
        """The inverse of `encode`; BadInput where the file is damaged, or of a newer format."""
        document = _document(data, where)
        try:
            manifest = Manifest(
                stage=document["stage"],
                generation=document["generation"],
                configuration=document["configuration"],
                inputs=Inputs(**document["inputs"]),
                files=tuple(FileEntry(**file) for file in document["files"]),
                quarantined=tuple(Quarantined(**item) for item in document["quarantined"]),
            )
            intact = manifest.fingerprint == document["fingerprint"]
        except (KeyError, TypeError) as error:
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
            "quarantined": [item._asdict() for item in self.quarantined],
        }


def open_stage(folder: Folder, stage: str, configuration: Mapping[str, Any]) -> Manifest | None:
    """Claims a folder for a stage and what determines its content; the newest manifest where one is there already.

    BadInput where the folder was made by another stage or configuration, naming what differs.
    """
    claim = {"format": FORMAT, "stage": stage, "configuration": configuration}
    if not folder.create(STAGE_FILE, (json.dumps(claim, indent=1, sort_keys=True) + "\n").encode()):
        there = _document(folder.read(STAGE_FILE), folder.path(STAGE_FILE))
        differences = list(_differences(there, json.loads(json.dumps(claim))))
        if differences:
            raise BadInput(
                f"{folder.url} was made with another configuration ({'; '.join(differences)}): "
                "choose another output folder, or the configuration that it was made with"
            )
    return Manifest.newest(folder)


def claimed_configuration(folder: Folder, stage: str) -> Mapping[str, Any] | None:
    """What the stage that has begun a folder was configured with; None where no such stage has."""
    if not folder.exists(STAGE_FILE):
        return None
    claim = _document(folder.read(STAGE_FILE), folder.path(STAGE_FILE))
    return claim["configuration"] if claim["stage"] == stage else None


def _document(data: bytes, where: str) -> dict[str, Any]:
    try:
        document = json.loads(data)
        version = document["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(where, error) from error
    if version != FORMAT:
        raise BadInput(f"{where} has format {version}, but this version reads {FORMAT}: update this software")
    return document


def _damaged(where: str, why: object) -> BadInput:
    return BadInput(f"{where} is damaged ({why}): restore it, or make the folder anew")


def _differences(there: object, here: object, name: str = "") -> Iterator[str]:
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted(there.keys() | here.keys()):
            yield from _differences(there.get(key), here.get(key), f"{name}.{key}" if name else key)
    elif there != here:
        yield f"{name.removeprefix('configuration.')}: {json.dumps(there)} there, {json.dumps(here)} here"
