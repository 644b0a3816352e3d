"""A report is made and published once."""

from pathlib import Path

import pytest

from bar_model.errors import BadInput
from pipeline.reports.page import PAGE
from pipeline.reports.publish import Findings, report_once
from pipeline.reports.report import REPORT
from pipeline.storage import Folder
from tests.harness.reports import report


def test_a_report_is_made_once_and_read_the_second_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, made = Folder(str(tmp_path / "report")), []

    def find() -> Findings:
        made.append(1)
        return Findings(report(1.5), [], 7, {"more.txt": b"more"})

    first = report_once("Title", out, {"which": 1}, [], find, None, judged=None)
    second = report_once("Title", out, {"which": 1}, [], find, None, judged=None)
    assert made == [1]
    assert second.results == first.results
    shown = capsys.readouterr().out
    assert shown.count("evaluated before, nothing to do") == 1
    assert shown.count(f"Report: {out.path(PAGE)}") == 2
    for name in (REPORT, PAGE, "more.txt"):
        assert out.exists(name)
    with pytest.raises(BadInput, match="which: 1 there, 2 here"):
        report_once("Title", out, {"which": 2}, [], find, None, judged=None)
