"""Where an output came from: what its run read, made and measured, and the way back to the first inputs.

A job that tracks its run leaves a summary of it, tracking.json, in its output folder. No server is needed to read it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from pipeline.storage import Folder

SUMMARY_FILE = "tracking.json"
_UNREADABLE = (OSError, ValueError, TypeError, KeyError, ImportError)
"""What reading a summary may raise: there is no folder, no file system for the URL, or another kind of file."""


class Input(NamedTuple):
    """A thing that a stage read. The fingerprint distinguishes it from others of the same name and URL."""

    name: str
    url: str
    fingerprint: str


class Judged(NamedTuple):
    """The checkpoint that figures belong to, which the server knows by its fingerprint, and how they were measured."""

    model: str
    protocol: str | None = None
    digest: str | None = None
    """Of the protocol: figures compare only where it is the same."""


@dataclass(kw_only=True)
class RunSummary:
    """What the run of an output folder read, made and measured: its inputs, and each metric's and tag's last value."""

    run: str
    """The run's key."""
    inputs: list[Input] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Folder) -> "RunSummary":
        """The summary in an output folder.

        Raises:
            FileNotFoundError: There is none.
        """
        document = json.loads(folder.read(SUMMARY_FILE))
        inputs = [Input(*each) for each in document.get("inputs", [])]
        return cls(
            run=document["run"], inputs=inputs, metrics=document.get("metrics", {}), tags=document.get("tags", {})
        )

    def record(self, kind: str, content: Mapping[str, Any]) -> None:
        """Adds a record that a method of `Run` has made. Kinds without a place in the summary are left out."""
        match kind:
            case "metrics":
                self.metrics |= content["values"]
            case "tags":
                self.tags |= content["values"]
            case "input":
                self.inputs.append(Input(content["name"], Folder(content["url"]).url, content["fingerprint"]))

    def save(self, folder: Folder) -> None:
        """Adds this summary to what an earlier start of the run has left in the folder.

        If that changes nothing, the file is not written.
        """
        try:
            before = RunSummary.read(folder)
        except FileNotFoundError:
            before = RunSummary(run="")
        inputs = list(dict.fromkeys(self.inputs)) or before.inputs
        metrics, tags = before.metrics | self.metrics, before.tags | self.tags
        after = RunSummary(run=self.run, inputs=inputs, metrics=metrics, tags=tags)
        if after != before:
            folder.write(SUMMARY_FILE, (json.dumps(asdict(after), indent=1) + "\n").encode())

    @property
    def output_fingerprints(self) -> frozenset[str]:
        """The fingerprints of the run's outputs."""
        return frozenset(
            value for name, value in self.tags.items() if name.startswith("output.") and name.endswith(".fingerprint")
        )


class Origin(NamedTuple):
    """An input, and the origins of what it was made from; None if no summary of its making is found."""

    input: Input
    origins: "tuple[Origin, ...] | None"


def find_summary(url: str) -> RunSummary | None:
    """The summary in the folder at `url`. None if there is none, or none that can be read."""
    try:
        return RunSummary.read(Folder(url))
    except _UNREADABLE:
        return None


def trace(found: Input, *, below: frozenset[str] = frozenset()) -> Origin:
    """The way back from an input to what it was made from, as far as summaries lead.

    A step is taken only if the fingerprint of the input is one that the summary names. `below` are the fingerprints
    passed so far: a damaged summary may lead back to one of them, and there the way ends.
    """
    summary = _summary_of_maker(found)
    if summary is None or found.fingerprint in below:
        return Origin(found, None)
    below |= {found.fingerprint}
    return Origin(found, tuple(trace(each, below=below) for each in summary.inputs))


def _summary_of_maker(found: Input) -> RunSummary | None:
    """From the input's folder or the one above it, since a model lies below the folder of its training."""
    for url in (found.url, found.url.rpartition("/")[0]):
        summary = find_summary(url)
        if summary is not None and found.fingerprint in summary.output_fingerprints:
            return summary
    return None
