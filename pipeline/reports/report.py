"""A report: figures with the goals that they are held against, under the protocol that they were measured by."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from rich.table import Table
from rich.text import Text

from bar_model.configuration import json_file, plain
from bar_model.errors import BadInput, interpreting
from pipeline.execution.manifest import FileEntry, Inputs, Manifest
from pipeline.redaction import redact_text, redacted_values
from pipeline.storage import Folder

FORMAT = 1
STAGE, REPORT = "evaluate", "report.json"
_OF_SETS = re.compile(r"(?P<figure>.+)_(?P<part>sd|min|(?:seed|set)_\d+)")


class Goal(NamedTuple):
    """The value that a figure must reach or must not exceed, or that it must be near to within `tolerance`."""

    kind: Literal["at least", "at most", "near"]
    bound: float
    tolerance: float = 0.0

    def is_met(self, value: float) -> bool:
        """Whether a value meets the goal."""
        match self.kind:
            case "at least":
                return value >= self.bound
            case "at most":
                return value <= self.bound
            case "near":
                return abs(value - self.bound) <= self.tolerance


class Figure(NamedTuple):
    """What is measured: `name` for machines, `title` for people. Values of the unit "%" are fractions of 1."""

    name: str
    title: str
    unit: Literal["%", "dB", "×", ""] = ""
    goal: Goal | None = None

    def shown(self, value: float) -> str:
        """A value of this figure as text, with its unit."""
        if self.unit == "%":
            return f"{100 * value:.4g} %"
        return f"{value:.4g} {self.unit}".rstrip()

    @property
    def goal_shown(self) -> str:
        """The goal as text, empty if there is none."""
        if self.goal is None:
            return ""
        around = f" ± {self.shown(self.goal.tolerance)}" if self.goal.tolerance else ""
        return f"{self.goal.kind} {self.shown(self.goal.bound)}{around}"


class Result(NamedTuple):
    """A figure and its measured value."""

    figure: Figure
    value: float

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is met; None if there is none."""
        return None if self.figure.goal is None else self.figure.goal.is_met(self.value)


@dataclass(frozen=True, kw_only=True)
class Report:
    """Results of one protocol, which is a dataclass. `notes` are sentences that a reader of the results must know."""

    protocol: Any
    results: tuple[Result, ...]
    notes: tuple[str, ...] = ()

    @property
    def are_goals_met(self) -> bool:
        """Whether no goal is missed."""
        return all(result.is_met is not False for result in self.results)

    def to_json(self) -> bytes:
        """The bytes of report.json."""
        results = {result.figure.name: _fields(result) for result in self.results}
        document = {"format": FORMAT, "protocol": plain(self.protocol), "results": results, "notes": self.notes}
        return json_file(redacted_values(document, redact_text), escaped=False)

    def publish(
        self,
        out: Folder,
        configuration: Mapping[str, Any],
        pictures: Mapping[str, bytes],
        *,
        num_inputs: int,
    ) -> Manifest:
        """Writes the report, further files by their names, and the manifest last."""
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
    def from_json(cls, document: bytes, where: str = REPORT) -> "Report":
        """The report in a file that `to_json` made. Its protocol stays plain JSON values.

        Raises:
            BadInput: the file, `where`, holds none, or one of another format.
        """
        with interpreting(f"{where} is no report, or damaged", "evaluate again"):
            fields = json.loads(document)
            if fields["format"] != FORMAT:
                raise BadInput(f"{where} has report format {fields['format']!r}, but this version reads {FORMAT}")
            results = tuple(_result(name, each) for name, each in fields["results"].items())
            return cls(protocol=dict(fields["protocol"]), results=results, notes=tuple(map(str, fields["notes"])))


class TableRow(NamedTuple):
    """The result of a figure. Of several sets it is the mean, beside their deviation, their minimum and each value."""

    result: Result
    deviation: float | None
    minimum: float | None
    sets: Mapping[str, float]


def table_rows(results: Sequence[Result]) -> tuple[TableRow, ...]:
    """A row for each figure. Results that belong together by name (`fid`, `fid_sd`, `fid_seed_0`) share one."""
    parts: dict[str, dict[str, float]] = {result.figure.name: {} for result in results}
    for figure, value in results:
        found = _OF_SETS.fullmatch(figure.name)
        if found is not None and found["figure"] in parts:
            parts[found["figure"]][found["part"]] = value
            del parts[figure.name]
    by_name = {result.figure.name: result for result in results}
    return tuple(
        TableRow(
            by_name[name],
            several.get("sd"),
            several.get("min"),
            {part.replace("_", " "): value for part, value in several.items() if part not in ("sd", "min")},
        )
        for name, several in parts.items()
    )


def results_table(title: str, results: Sequence[Result]) -> Table:
    """A table of figures beside their goals."""
    table = Table(title=Text(title), title_justify="left", title_style="bold")
    table.add_column("")
    for heading in ("result", "goal", ""):
        table.add_column(heading, justify="right")
    for result in results:
        figure, value = result
        mark = {None: "", True: "[green]reached[/]", False: "[bold red]missed[/]"}[result.is_met]
        table.add_row(Text(figure.title), figure.shown(value), figure.goal_shown, mark)
    return table


def _fields(result: Result) -> dict[str, Any]:
    figure, value = result
    goal = {} if figure.goal is None else {"goal": figure.goal._asdict(), "met": result.is_met}
    return {"title": figure.title, "value": value, "unit": figure.unit, **goal}


def _result(name: str, fields: Mapping[str, Any]) -> Result:
    goal = Goal(**fields["goal"]) if "goal" in fields else None
    if type(fields["value"]) not in (int, float):
        raise ValueError(f"{name} has the value {fields['value']!r}")
    return Result(Figure(name, fields["title"], fields["unit"], goal), float(fields["value"]))
