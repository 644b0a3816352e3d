"""Reports beside each other: ranked if they were measured alike, else with what their protocols differ in."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Annotated, Any

import tyro
from rich.table import Table
from rich.text import Text

from bar_model.configuration import plain
from bar_model.errors import BadInput
from pipeline.evaluation.fid_protocol import PUBLISHED_FIGURES
from pipeline.paths import InputUrl
from pipeline.reports.report import REPORT, Report
from pipeline.storage import Folder
from pipeline.terminal import show

MEASUREMENT = "measurement"
BY = PUBLISHED_FIGURES[0]


def ranked(reports: Mapping[str, Report]) -> list[str]:
    """The names of the reports, the lowest FID first, and at the end those without any.

    Raises:
        BadInput: their measurements differ.
    """
    if len(_measurements(reports)) > 1:
        raise BadInput(f"{', '.join(reports)}: measured by different protocols, which can't be ranked")
    return sorted(reports, key=lambda name: _values(reports[name]).get(BY.name, math.inf))


def comparison_table(title: str, reports: Mapping[str, Report]) -> Table:
    """A table with a row for each report, ranked if they were measured alike.

    Else a column names the protocols, the caption says how they differ, and the order is the one given.
    """
    measurements = _measurements(reports)
    are_alike = len(measurements) == 1
    names = {figure.name for report in reports.values() for figure, _ in report.results}
    shown = [figure for figure in PUBLISHED_FIGURES if figure.name in names]
    table = Table(title=Text(title), title_justify="left", title_style="bold", caption_justify="left")
    table.caption = Text(_caption(measurements))
    table.add_column("", no_wrap=True)
    for heading in ([] if are_alike else ["protocol"]) + [figure.title for figure in shown]:
        table.add_column(heading, justify="right")
    for name in ranked(reports) if are_alike else reports:
        values = _values(reports[name])
        letter = [] if are_alike else [_letter(measurements.index(_measurement(reports[name])))]
        table.add_row(Text(name), *letter, *(_cell(figure.name, values) for figure in shown))
    return table


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """Which reports to set beside each other."""

    reports: Annotated[tuple[InputUrl, ...], tyro.conf.Positional, tyro.conf.arg(metavar="REPORT")]
    """Folders of reports, of any URL."""

    def __post_init__(self) -> None:
        if not self.reports:
            raise BadInput("reports: none are given; name folders of reports")


def compare_reports(config: CompareConfig) -> None:
    """Prints the results of several reports beside each other.

    Raises:
        BadInput: a folder holds no report, or one that is not of samples.
    """
    show(comparison_table("Results", {url: _read(url) for url in config.reports}))


def _read(url: str) -> Report:
    folder = Folder(url)
    try:
        report = Report.from_json(folder.read(REPORT), folder.path(REPORT))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BadInput(f"{url} holds no {REPORT}: give the folder of a report") from error
    if not isinstance(report.protocol.get(MEASUREMENT), dict):
        raise BadInput(f"{url} is a report of another kind: give those of `evaluate.py imagenet`")
    return report


def _measurement(report: Report) -> dict[str, Any]:
    return plain(report.protocol)[MEASUREMENT]


def _measurements(reports: Mapping[str, Report]) -> list[dict[str, Any]]:
    """The different measurements of the reports, in their order."""
    found: list[dict[str, Any]] = []
    for report in reports.values():
        if _measurement(report) not in found:
            found.append(_measurement(report))
    return found


def _caption(measurements: Sequence[dict[str, Any]]) -> str:
    first = measurements[0]
    if len(measurements) == 1:
        num = first.get("num_images")
        shown = f"{num:,}" if isinstance(num, int) else num
        return f"{first.get('name')}; {shown} images; labels {first.get('labels')}"
    names = dict.fromkeys(name for each in measurements for name in each)
    differing = [name for name in names if len({json.dumps(each.get(name)) for each in measurements}) > 1]
    lines = [
        f"{_letter(index)}: " + "; ".join(f"{name} {each.get(name)}" for name in differing)
        for index, each in enumerate(measurements)
    ]
    return "\n".join(["Different protocols: these figures do not compare.", *lines])


def _letter(index: int) -> str:
    """A to Z, then AA to AZ and so on."""
    before, last = divmod(index, len(ascii_uppercase))
    return (_letter(before - 1) if before else "") + ascii_uppercase[last]


def _cell(name: str, values: Mapping[str, float]) -> str:
    if name not in values:
        return ""
    spread = f" ± {values[f'{name}_sd']:.2g}" if f"{name}_sd" in values else ""
    return f"{values[name]:.4g}{spread}"


def _values(report: Report) -> dict[str, float]:
    return {figure.name: value for figure, value in report.results if math.isfinite(value)}
