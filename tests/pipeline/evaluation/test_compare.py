"""Results share a rank only where they share their protocol."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from bar_model.errors import BadInput
from bar_model.generator.sampling import Sampling
from pipeline.evaluation.compare import CompareConfig, compare_reports, comparison_table, ranked
from pipeline.evaluation.fid_protocol import FidProtocol, Measurement, fid_report
from pipeline.evaluation.paper_results import PAPER_RESULTS
from pipeline.reports.report import Goal, Report
from pipeline.storage import Folder
from pipeline.workflows.reproduce import TOLERANCES, compare
from pipeline.workflows.sweep import SweepConfig, plot_fid
from tests.harness.odd_paths import ODD_PATHS


def report(*fids: float, num_images: int = 50_000) -> Report:
    measurement = Measurement(
        reference="r", inception="i", image_size=256, num_images=num_images, labels="cyclic", pixel_rule="truncated"
    )
    protocol = FidProtocol(measurement=measurement, seeds=tuple(range(len(fids))), sampling=None, precision=None)
    return fid_report([{"fid": fid, "recall": 0.6} for fid in fids], protocol)


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


def test_a_published_figure_is_met_within_its_tolerance_or_the_seeds_spread() -> None:
    published = {"fid": 1.13, "recall": 0.664}
    (fid, recall) = compare(report(1.15, 1.15), published)
    assert fid.figure.goal == Goal("near", 1.13, TOLERANCES["fid"])
    assert (fid.is_met, recall.is_met) == (True, False)
    assert [result.is_met for result in compare(report(1.17), published)] == [False, False]
    (scattered, _) = compare(report(1.1, 1.2, 1.3), published)
    assert scattered.figure.goal is not None
    assert scattered.figure.goal.tolerance == pytest.approx(0.3)
    assert scattered.is_met
    assert not compare(report(1.09), published)[0].is_met, "too good is no match either"
    assert all(set(row.figures) == set(TOLERANCES) for row in PAPER_RESULTS.values())


SWEEP = SweepConfig(
    generator="g",
    tokenizer="t",
    reference="r",
    out="o",
    guidance_scales=(1.0, 2.0),
    temperatures=(1.5,),
    allocations=("2,2,5,7", "16"),
)


def test_a_sweep_tries_every_setting_by_a_seed_of_its_own() -> None:
    assert len(SWEEP.settings) == 4
    setting = SWEEP.settings["guidance 2 temperature 1.5 bits 2.2.5.7"]
    assert setting == Sampling(guidance_scale=2.0, temperature=1.5, allocation=(2, 2, 5, 7))
    fields = {name: getattr(SWEEP, name) for name in ("generator", "tokenizer", "reference", "out", "guidance_scales")}
    for change, message in [
        ({"temperatures": (1.0,), "allocations": ("2",), "seed": 1}, "chosen to please"),
        ({"temperatures": (1.0,), "allocations": ("2,x",)}, "numbers of bits are wanted"),
        ({"temperatures": (), "allocations": ("2",)}, "of 0 settings at least 1 goes on"),
    ]:
        with pytest.raises(BadInput, match=message):
            SweepConfig(**fields, **change)


def test_the_picture_of_a_sweep_is_a_picture() -> None:
    reports = {name: report(float(index)) for index, name in enumerate(SWEEP.settings)}
    drawn = plot_fid("Few", SWEEP.settings, reports)
    assert drawn.shape[2] == 3
    assert len(set(map(tuple, drawn.reshape(-1, 3).tolist()))) > 10
