"""A report: figures with the goals that they are held against, under the protocol that they were measured by."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from rich.table import Table

from pipeline.manifest import FileEntry, Inputs, Manifest
from pipeline.provenance import plain
from pipeline.storage import Folder

FORMAT = 1
STAGE, REPORT = "evaluate", "report.json"


class Goal(NamedTuple):
    """What a figure has to reach, must not exceed, or must not be farther from than `tolerance`."""

    kind: Literal["at least", "at most", "near"]
    bound: float
    tolerance: float = 0.0

    def is_met(self, value: float) -> bool:
        match self.kind:
            case "at least":
                return value >= self.bound
            case "at most":
                return value <= self.bound
            case "near":
                return abs(value - self.bound) <= self.tolerance


class Figure(NamedTuple):
    """What is measured: `name` for machines, `title` for people. Shares (unit "%") are fractions."""

    name: str
    title: str
    unit: Literal["%", "dB", "×", ""] = ""
    goal: Goal | None = None

    def shown(self, value: float) -> str:
        """A value of this figure, for people."""
        if self.unit == "%":
            return f"{100 * value:.4g} %"
        return f"{value:.4g} {self.unit}".rstrip()


class Result(NamedTuple):
    """What was measured."""

    figure: Figure
    value: float

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is; None where there is none."""
        return None if self.figure.goal is None else self.figure.goal.is_met(self.value)


@dataclass(frozen=True, kw_only=True)
class Report:
    """Results of one protocol (a dataclass); `notes` are what a reader of the results must know besides."""

    protocol: Any
    results: tuple[Result, ...]
    notes: tuple[str, ...] = ()

    @property
    def are_goals_met(self) -> bool:
        return all(result.is_met is not False for result in self.results)

    def to_json(self) -> bytes:
        results = {result.figure.name: _fields(result) for result in self.results}
        document = {"format": FORMAT, "protocol": plain(self.protocol), "results": results, "notes": self.notes}
        return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()

    def publish(
        self,
        out: Folder,
        configuration: Mapping[str, Any],
        pictures: Mapping[str, bytes],
        *,
        num_inputs: int,
    ) -> Manifest:
        """Writes the report and its pictures by their file names, and the manifest last."""
        files = {REPORT: self.to_json(), **pictures}
        for name, data in files.items():
            out.write(name, data)
        digest = hashlib.sha256(json.dumps(configuration).encode()).hexdigest()[:16]
        return Manifest(
            stage=STAGE,
            generation=1,
            configuration=configuration,
            inputs=Inputs(num_inputs, digest),
            files=tuple(
                FileEntry(name, digest, 1, len(data), hashlib.sha256(data).hexdigest()) for name, data in files.items()
            ),
        ).commit(out)

    @classmethod
    def from_json(cls, document: bytes) -> "Report":
        """The inverse of `to_json`, but that the protocol is plain JSON values."""
        fields = json.loads(document)
        results = tuple(_result(name, each) for name, each in fields["results"].items())
        return cls(protocol=fields["protocol"], results=results, notes=tuple(fields["notes"]))


def results_table(title: str, results: Sequence[Result]) -> Table:
    """Figures beside their goals."""
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("")
    for heading in ("result", "goal", ""):
        table.add_column(heading, justify="right")
    for result in results:
        figure, value = result
        goal = "" if figure.goal is None else f"{figure.goal.kind} {figure.shown(figure.goal.bound)}"
        if figure.goal is not None and figure.goal.tolerance:
            goal += f" ± {figure.shown(figure.goal.tolerance)}"
        mark = {None: "", True: "[green]reached[/]", False: "[bold red]missed[/]"}[result.is_met]
        table.add_row(figure.title, figure.shown(value), goal, mark)
    return table


def _fields(result: Result) -> dict[str, Any]:
    figure, value = result
    goal = {} if figure.goal is None else {"goal": figure.goal._asdict(), "met": result.is_met}
    return {"title": figure.title, "value": value, "unit": figure.unit, **goal}


def _result(name: str, fields: Mapping[str, Any]) -> Result:
    goal = Goal(**fields["goal"]) if "goal" in fields else None
    return Result(Figure(name, fields["title"], fields["unit"], goal), fields["value"])
