"""From a checkpoint to the published table, and to a sweep's best, by the real stages on models of no size."""

import json
from pathlib import Path

import pytest

from pipeline.evaluation.extract import ExtractConfig
from pipeline.evaluation.paper_results import PAPER_RESULTS
from pipeline.reports.report import Goal
from pipeline.tracking.start import TrackingConfig, start_run
from pipeline.workflows.reproduce import TOLERANCES, ReproduceConfig, compare, reproduce
from tests.harness.reports import report

pytest_plugins = [
    "tests.harness.fixtures_workflows",
    "tests.harness.fixtures_inception",
    "tests.harness.fixtures_s3",
    "tests.harness.fixtures_ray",
]


@pytest.mark.ray
@pytest.mark.slow
def test_a_checkpoint_is_judged_beside_its_published_row(
    weights: Path,
    reference: str,
    extract: ExtractConfig,
    kept: TrackingConfig,
    ray_here: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = ReproduceConfig(
        name="bar-b",
        weights=str(weights),
        generator="generator",
        tokenizer="tokenizer",
        reference=reference,
        out=str(tmp_path / "out"),
        seeds=(0, 1),
        num_images=8,
        batch_size=4,
        unit_size=4,
        workers=1,
        extract=extract,
    )
    with start_run("reproduce", kept, config, out=config.out) as run:
        assert not reproduce(config, run)
    shown = " ".join(capsys.readouterr().out.split())
    assert "near 1.13 ±" in shown
    assert "Not compared: sfid" in shown
    assert "bar-b: not reproduced" in shown
    document = json.loads((tmp_path / "out" / "report" / "report.json").read_bytes())
    assert document["protocol"]["seeds"] == [0, 1]
    assert document["protocol"]["measurement"]["labels"] == "cyclic, 0 to 4"


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
