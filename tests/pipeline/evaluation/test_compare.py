"""Results share a rank only where they share their protocol."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from bar_model.errors import BadInput
from pipeline.evaluation.compare import CompareConfig, compare_reports, comparison_table, ranked
from pipeline.reports.report import Report
from pipeline.storage import Folder
from tests.harness.odd_paths import ODD_PATHS
from tests.harness.reports import report


def lines(reports: dict[str, Report]) -> list[str]:
    text = io.StringIO()
    Console(width=200, file=text).print(comparison_table("Results", reports))
    return [" ".join(line.replace("│", " ").split()) for line in text.getvalue().splitlines()]


def test_results_of_one_protocol_are_ranked() -> None:
    reports = {"a": report(3.0, 4.0), "b": report(2.0), "c": report(5.0)}
    assert ranked(reports) == ["b", "a", "c"]
    shown = lines(reports)
    rows = [line for line in shown if line[:2] in ("a ", "b ", "c ")]
    assert rows == ["b 2 0.6", "a 3.5 ± 0.71 0.6 ± 0", "c 5 0.6"]
    assert any("50,000 images; labels cyclic" in line for line in shown)


@pytest.mark.parametrize("url", ODD_PATHS)
def test_urls_stand_in_the_table_as_they_are(url: str) -> None:
    shown = lines({url: report(1.0), "b": report(2.0)})
    assert f"{url} 1 0.6" in shown


def test_results_of_different_protocols_are_named_and_never_ranked() -> None:
    reports = {"a": report(3.0), "b": report(2.0, num_images=10_000), "c": report(1.0)}
    with pytest.raises(BadInput, match="can't be ranked"):
        ranked(reports)
    shown = lines(reports)
    rows = [line for line in shown if line[:2] in ("a ", "b ", "c ") and line[-1].isdigit()]
    assert rows == ["a A 3 0.6", "b B 2 0.6", "c A 1 0.6"]
    assert "A: num_images 50000" in shown
    assert "B: num_images 10000" in shown


def test_reports_are_compared_from_their_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, fid in (("one", 2.0), ("two", 1.0)):
        report(fid).publish(Folder(name), {"which": name}, {}, num_inputs=1)
    compare_reports(CompareConfig(reports=("one", "two")))
    shown = capsys.readouterr().out
    assert shown.index("two") < shown.index("one")
    for wrong, message in (("one", "three"), "three holds no report.json"), ((), "reports: none"):
        with pytest.raises(BadInput, match=message):
            compare_reports(CompareConfig(reports=wrong))
