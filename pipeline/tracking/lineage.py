"""Where an output came from: what its run read, made and measured, and the way back to the first inputs.

A job that tracks its run leaves a summary of it, tracking.json, in its output folder. No server is needed to read it.
"""

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import Any, NamedTuple

from bar_model.configuration import json_file
from bar_model.errors import one_line
from pipeline.redaction import redact_text, redacted, redacted_values
from pipeline.storage import Folder

SUMMARY_FILE = "tracking.json"

logger = logging.getLogger(__name__)


class DamagedSummary(ValueError):
    """A summary that is empty, cut off, or another kind of file."""


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
            DamagedSummary: It is empty, cut off, or another kind of file.
        """
        data = folder.read(SUMMARY_FILE)
        try:
            document = json.loads(data)
            run, inputs = document["run"], [Input(*each) for each in document.get("inputs", [])]
            metrics, tags = dict(document.get("metrics", {})), dict(document.get("tags", {}))
            texts = [run, *chain.from_iterable(inputs), *metrics, *tags, *tags.values()]
            if not run or not all(isinstance(text, str) for text in texts):
                raise TypeError("its values are of other types")
            metrics = {name: float(value) for name, value in metrics.items()}
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            raise DamagedSummary(f"{folder.path(SUMMARY_FILE)} is damaged ({one_line(error)})") from error
        return cls(run=run, inputs=inputs, metrics=metrics, tags=tags)

    @classmethod
    def read_if_whole(cls, folder: Folder) -> "RunSummary | None":
        """The summary in an output folder; None if there is none, or, after a warning, if it is damaged."""
        try:
            return cls.read(folder)
        except FileNotFoundError:
            return None
        except DamagedSummary as error:
            logger.warning("%s: it is left out of account and written anew", error)
            return None

    def record(self, kind: str, content: Mapping[str, Any]) -> None:
        """Adds a record that a method of `Run` has made. Kinds without a place in the summary are left out."""
        match kind:
            case "metrics":
                self.metrics |= content["values"]
            case "tags":
                self.tags |= redacted_values(content["values"], redact_text)
            case "input":
                url = redacted(Folder(content["url"]).url)
                self.inputs.append(Input(content["name"], url, content["fingerprint"]))

    def save(self, folder: Folder) -> None:
        """Adds this summary to what an earlier start of the run has left in the folder.

        If that changes nothing, the file is not written.
        """
        before = RunSummary.read_if_whole(folder) or RunSummary(run="")
        inputs = list(dict.fromkeys(self.inputs)) or before.inputs
        # JSON has no word for the others.
        metrics = {name: value for name, value in (before.metrics | self.metrics).items() if math.isfinite(value)}
        tags = before.tags | self.tags
        after = RunSummary(run=self.run, inputs=inputs, metrics=metrics, tags=tags)
        if after != before:
            folder.write(SUMMARY_FILE, json_file(asdict(after)))

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
    except Exception:  # There is no folder, or its server asks for the password that was taken out: of any kind.
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
