"""What every evaluation does with its report: draws its page, publishes both once, and logs them to the run."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.execution.manifest import open_stage
from pipeline.reports.page import PAGE, Illustration, draw_report
from pipeline.reports.report import REPORT, STAGE, Report
from pipeline.storage import Folder
from pipeline.tracking.lineage import Input, Judged, trace
from pipeline.tracking.run import Run


class Findings(NamedTuple):
    """A report, what its page shows, further files by name, and the number of items that were judged."""

    report: Report
    illustrations: Sequence[Illustration]
    num: int
    files: Mapping[str, bytes] = {}


def report_once(
    title: str,
    out: Folder,
    configuration: Mapping[str, Any],
    inputs: Sequence[Input],
    find: Callable[[], Findings],
    run: Run | None,
    *,
    judged: Judged | None,
) -> Report:
    """Writes report.json, report.html and further files, unless they are there.

    The run gets the figures. They are those of the checkpoint that was `judged`, if it is known.

    Raises:
        BadInput: `out` holds an evaluation of another configuration.
    """
    if (published := open_stage(out, STAGE, configuration)) is not None:
        print(f"{out}: evaluated before, nothing to do", flush=True)
        report = Report.from_json(out.read(REPORT), out.path(REPORT))
    else:
        report, illustrations, num, files = find()
        page = draw_report(title, report, illustrations, [trace(each) for each in inputs])
        published = report.publish(out, configuration, {PAGE: page, **files}, num_inputs=num)
    if run is not None:
        for each in inputs:
            run.input(*each)
        run.metrics({figure.name: value for figure, value in report.results}, of=judged)
        for file in published.files:
            run.artifact(file.name, out.read(file.name))
        run.output("report", out.url, published.fingerprint)
    print(f"Report: {out.path(PAGE)}", flush=True)
    return report
