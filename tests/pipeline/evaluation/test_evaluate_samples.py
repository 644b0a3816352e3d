"""Samples are judged against a reference: once, from features that are kept, and only where they are complete."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bar_model.errors import BadInput
from pipeline.evaluation.evaluate_samples import EvaluateConfig, check_complete, evaluate
from pipeline.evaluation.extract import ExtractConfig
from pipeline.features.folder import Summary
from pipeline.features.networks import FeatureNetworksConfig
from pipeline.metrics.frechet import moments
from pipeline.metrics.precision_recall import precision_recall
from pipeline.pretrained.inception import Inception
from pipeline.reports.report import Report
from tests.harness.sample_folders import NUM, save_samples, some_images

pytest_plugins = ["tests.harness.fixtures_inception", "tests.harness.fixtures_s3", "tests.harness.fixtures_ray"]


@pytest.fixture
def config(inception_file: tuple[str, str], tmp_path: Path) -> EvaluateConfig:
    path, sha256 = inception_file
    np.savez(tmp_path / "reference.npz", arr_0=some_images(6, seed=9))
    return EvaluateConfig(
        samples=(save_samples(tmp_path / "samples", 0),),
        reference=str(tmp_path / "reference.npz"),
        out=str(tmp_path / "report"),
        features=str(tmp_path / "features"),
        num_images=NUM,
        extract=ExtractConfig(
            networks=FeatureNetworksConfig(inception=path, inception_sha256=sha256), batch_size=3, workers=1
        ),
    )


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """Frechet's, of few vectors in many dimensions, by the nuclear norm of a small product."""
    parts = [(some - some.mean(axis=0)) / np.sqrt(len(some) - 1) for some in (first, second)]
    overlap = np.linalg.svd(parts[0] @ parts[1].T, compute_uv=False).sum()
    means = first.mean(axis=0) - second.mean(axis=0)
    return float(means @ means + (parts[0] ** 2).sum() + (parts[1] ** 2).sum() - 2 * overlap)


def values(report: Report) -> dict[str, float]:
    return {figure.name: value for figure, value in report.results}


@pytest.mark.ray
@pytest.mark.slow
def test_samples_are_judged_once_by_features_that_are_kept(
    config: EvaluateConfig, inception: Inception, ray_here: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = values(evaluate(config))
    drawn, reference = (
        inception(torch.from_numpy(some).permute(0, 3, 1, 2)) for some in (some_images(NUM, 0), some_images(6, 9))
    )
    for name, feature in (("fid", "pool3"), ("sfid", "spatial")):
        expected = distance(drawn[feature].double().numpy(), reference[feature].double().numpy())
        assert found[name] == pytest.approx(expected, rel=1e-4)
    neighbours = precision_recall(reference["pool3"], drawn["pool3"])
    assert (found["precision_float32"], found["recall_float32"]) == pytest.approx(neighbours)

    document = json.loads(Path(config.out, "report.json").read_bytes())
    assert document["protocol"]["seeds"] == [0]
    page = Path(config.out, "report.html").read_text()
    for title in ("Samples", "Nearest real pictures", "Quality and cost", "Where it comes from", "Protocol"):
        assert f"<h2>{title}</h2>" in page
    assert "pictures of " + config.reference in page
    assert any("KID" in note for note in document["notes"])
    for path in Path(config.samples[0]).glob("samples-*"):
        path.unlink()  # Never again is a picture needed.
    capsys.readouterr()
    assert values(evaluate(config)) == found
    assert "evaluated before" in " ".join(capsys.readouterr().out.split())
    mean, covariance = moments(reference["pool3"].numpy())[1:]
    np.savez(config.reference, mu=mean, sigma=covariance)
    again = evaluate(replace(config, out=f"{config.out}-again"))
    assert set(values(again)) == {"fid", "inception_score"}
    assert values(again)["fid"] == pytest.approx(found["fid"], rel=1e-4)
    assert any("no mu_s, sigma_s: no sFID" in note for note in again.notes)
    assert any("Pictures can't be shown" in note for note in again.notes)


def test_samples_that_are_missing_surplus_or_elsewhere_are_refused(config: EvaluateConfig, tmp_path: Path) -> None:
    for samples, message in [
        ([save_samples(tmp_path / "few", 0, range(NUM - 1))], r"few holds 6 samples, but the protocol needs 7"),
        ([save_samples(tmp_path / "many", 0, range(NUM + 1))], "many holds 8 samples"),
        ([config.samples[0], save_samples(tmp_path / "same", 0)], "two sets are of one seed"),
        ([config.samples[0], config.reference], "reference.npz holds 6 samples"),
    ]:
        with pytest.raises(BadInput, match=message):
            evaluate(replace(config, samples=tuple(samples)))
    assert not Path(config.out).exists()


def test_gaps_and_other_orders_are_refused() -> None:
    for keys, message in [
        (("0", "1", "2"), "samples holds 3 samples, but the protocol needs 4"),
        (("0", "1", "3", "4"), "holds sample 3 where 2 belongs"),
        (("1", "0", "2", "3"), "holds sample 1 where 0 belongs"),
    ]:
        with pytest.raises(BadInput, match=message):
            check_complete("samples", Summary(keys, {}, {}), 4)
    check_complete("samples", Summary(("0", "1", "2", "3"), {}, {}), 4)
