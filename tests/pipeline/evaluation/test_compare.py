"""Results share a rank only where they share their protocol."""

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from bar_model.errors import BadInput
from pipeline.evaluation.compare import CompareConfig, compare_reports, comparison_table, ranked
from pipeline.reports.report import Report, Result
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


def test_reports_without_fid_stand_in_the_table_after_the_others() -> None:
    without = report(1.0)
    without = replace(without, results=tuple(each for each in without.results if each.figure.name != "fid"))
    nan = replace(without, results=(*without.results, Result(report(1.0).results[0].figure, float("nan"))))
    shown = lines({"a": without, "b": report(2.0), "c": nan})
    assert [line for line in shown if line[:2] in ("a ", "b ", "c ")] == ["b 2 0.6", "a 0.6", "c 0.6"]


def test_many_protocols_are_told_apart() -> None:
    shown = lines({f"report {index}": report(1.0, num_images=100 + index) for index in range(30)})
    assert "AD: num_images 129" in shown


def changed(**fields: object) -> bytes:
    return json.dumps({**json.loads(report(2.0).to_json()), **fields}).encode()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is no report, or damaged"),
        (b"[1]", "is no report, or damaged"),
        (b"{}", "is no report, or damaged ('format' is missing)"),
        (b"\xff\xfe", "is no report, or damaged"),
        (report(2.0).to_json()[:-40], "is no report, or damaged"),
        (changed(format=7), "has report format 7, but this version reads 1"),
        (changed(results=[]), "is no report, or damaged"),
        (changed(results={"fid": {"title": "FID", "value": "2", "unit": ""}}), "fid has the value '2'"),
        (changed(results={"fid": 2.0}), "is no report, or damaged"),
        (changed(protocol="mine"), "is no report, or damaged"),
        (changed(protocol={}), "is a report of another kind"),
        (changed(protocol={"measurement": 5}), "is a report of another kind"),
    ],
)
def test_a_broken_report_is_one_line_that_names_it(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "report.json").write_bytes(content)
    with pytest.raises(BadInput, match=re.escape(told)) as caught:
        compare_reports(CompareConfig(reports=(str(tmp_path),)))
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_measurement_of_another_version_is_shown_with_what_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "report.json").write_bytes(changed(protocol={"measurement": {"colour": "grey"}}))
    report(1.0).publish(Folder(str(tmp_path / "old")), {"which": "old"}, {}, num_inputs=1)
    compare_reports(CompareConfig(reports=(str(tmp_path / "old"), str(tmp_path / "new"))))
    shown = " ".join(capsys.readouterr().out.split())
    assert "B: " in shown
    assert "colour grey" in shown
    compare_reports(CompareConfig(reports=(str(tmp_path / "new"),)))
