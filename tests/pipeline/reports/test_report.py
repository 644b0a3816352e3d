"""Reports: goals beside results, in a table."""

import io

import pytest
from rich.console import Console

from pipeline.reports.report import Figure, Goal, Report, Result, results_table
from tests.harness.odd_paths import ODD_PATHS


def results_shown(report: Report) -> str:
    text = io.StringIO()
    Console(width=120, file=text).print(results_table("Results", report.results))
    return text.getvalue()


def test_the_table_says_what_is_reached() -> None:
    results = (
        Result(Figure("a", "Share", "%", Goal("at least", 0.95)), 0.987),
        Result(Figure("b", "Ratio", "×", Goal("at most", 4)), 4.5),
        Result(Figure("c", "PSNR", "dB"), 21.25),
    )
    lines = [
        " ".join(line.replace("│", " ").split())
        for line in results_shown(Report(protocol=None, results=results)).splitlines()
    ]
    assert "Share 98.7 % at least 95 % reached" in lines
    assert "Ratio 4.5 × at most 4 × missed" in lines
    assert "PSNR 21.25 dB" in lines


@pytest.mark.parametrize("name", ODD_PATHS)
def test_titles_stand_in_the_table_as_they_are(name: str) -> None:
    shown = results_shown(Report(protocol=None, results=(Result(Figure("a", name), 1.0),)))
    assert name in shown
