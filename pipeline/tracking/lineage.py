"""Where an output came from: what its run read, made and measured, kept beside it, and the way back to the pictures.

The tracker writes it, so that it needs no server to be read: every job that tracks its run leaves a note.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from pipeline.storage import Folder
from pipeline.tracking.system_metrics import PREFIX

NOTE_FILE = "tracking.json"
UNREADABLE = (OSError, ValueError, TypeError, KeyError, ImportError)
"""What reading a note may raise where there is none: no folder, no file system for the URL, another's file."""


class Input(NamedTuple):
    """Something that a stage read; its fingerprint tells it from all others of the name."""

    name: str
    url: str
    fingerprint: str


class Judged(NamedTuple):
    """What figures are of: a checkpoint that the server knows by its fingerprint; and what they were measured by."""

    model: str
    protocol: str | None = None
    digest: str | None = None
    """Of the protocol: figures compare only where it is the same."""


@dataclass(kw_only=True)
class Note:
    """What the run of an output folder told its tracker: inputs, and of every metric and tag the last value."""

    run: str
    """Its key."""
    inputs: list[Input] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Folder) -> "Note":
        """FileNotFoundError where there is none."""
        document = json.loads(folder.read(NOTE_FILE))
        inputs = [Input(*each) for each in document.get("inputs", [])]
        return cls(
            run=document["run"], inputs=inputs, metrics=document.get("metrics", {}), tags=document.get("tags", {})
        )

    def hear(self, kind: str, content: Mapping[str, Any]) -> None:
        """Takes down a record of the run (see the methods of `runs.Run`)."""
        match kind:
            case "metrics":
                # What the machine did besides is another every time.
                self.metrics |= {k: v for k, v in content["values"].items() if not k.startswith(PREFIX)}
            case "tags":
                self.tags |= content["values"]
            case "input":
                self.inputs.append(Input(content["name"], Folder(content["url"]).url, content["fingerprint"]))

    def keep(self, folder: Folder) -> None:
        """Adds it to what an earlier start of the run has left there; with nothing to add, the file stays untouched."""
        try:
            before = Note.read(folder)
        except FileNotFoundError:
            before = Note(run="")
        inputs = list(dict.fromkeys(self.inputs)) or before.inputs
        metrics, tags = before.metrics | self.metrics, before.tags | self.tags
        after = Note(run=self.run, inputs=inputs, metrics=metrics, tags=tags)
        if after != before:
            folder.write(NOTE_FILE, (json.dumps(asdict(after), indent=1) + "\n").encode())

    @property
    def made(self) -> frozenset[str]:
        """Fingerprints of the run's outputs."""
        return frozenset(
            value for name, value in self.tags.items() if name.startswith("output.") and name.endswith(".fingerprint")
        )


class Origin(NamedTuple):
    """An input, and what it was made from in its turn; None where no note of that is found."""

    input: Input
    origins: "tuple[Origin, ...] | None"


def trace(found: Input, *, below: frozenset[str] = frozenset()) -> Origin:
    """The way back, as far as notes tell it: by where things lie, and only where their fingerprints agree."""
    note = _maker(found)
    if note is None or found.fingerprint in below:  # A note may be damaged, and the way must end.
        return Origin(found, None)
    below |= {found.fingerprint}
    return Origin(found, tuple(trace(each, below=below) for each in note.inputs))


def _maker(found: Input) -> Note | None:
    """The note of the run that made it: in its folder, or in the one above (a model lies below its training's)."""
    for url in (found.url, found.url.rpartition("/")[0]):
        try:
            note = Note.read(Folder(url))
        except UNREADABLE:
            continue
        if found.fingerprint in note.made:
            return note
    return None
