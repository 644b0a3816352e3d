"""Judging digits: figures of samples whose quality is known."""

import json

import numpy as np
import pytest

from bar_model.errors import BadInput
from pipeline.digits.protocol import DIGITS_FIGURES, DigitsProtocol, Evidence, digits_report, panels
from pipeline.reports.panel import draw_page
from pipeline.reports.report import Report, Result
from pipeline.samples.shard import Samples
from tests.harness.scans import as_samples, some

pytestmark = pytest.mark.long

pytest_plugins = ["tests.harness.fixtures_digits"]

RNG = np.random.default_rng(0)


def values(report: Report) -> dict[str, float]:
    return {figure.name: value for figure, value in report.results}


def test_unseen_scans_as_samples_reach_every_goal(evidence: Evidence, protocol: DigitsProtocol) -> None:
    report = digits_report(evidence, protocol)
    assert report.are_goals_met, report.results
    assert all("are made again exactly" in note for note in report.notes)  # The reconstructions are the scans.
    assert "reconstruction_psnr" not in values(report)
    assert values(report)["frechet_ratio"] == pytest.approx(1, abs=0.5)


def test_copies_of_training_scans_are_found(evidence: Evidence, protocol: DigitsProtocol) -> None:
    copies = as_samples(some(evidence.train, 0, 300))
    found = values(digits_report(evidence._replace(guided=copies), protocol))
    assert found["copies"] == 1
    assert found["class_accuracy_guided"] == 1


def test_samples_without_variety_are_found(evidence: Evidence, protocol: DigitsProtocol) -> None:
    """The same ten digits again and again, well legible, and no copies of the training scans."""
    first = [int(np.flatnonzero(evidence.guided.labels == label)[0]) for label in range(10)]
    rows = np.tile(first, 30)
    same = Samples(np.arange(300), evidence.guided.labels[rows], evidence.guided.images[rows], evidence.guided.codes)
    report = digits_report(evidence._replace(guided=same), protocol)
    missed = [figure.name for figure, value in report.results if Result(figure, value).is_met is False]
    assert "frechet_ratio" in missed
    assert "class_accuracy_guided" not in missed


def test_noise_is_no_digit(evidence: Evidence, protocol: DigitsProtocol) -> None:
    noise = evidence.guided._replace(images=RNG.integers(0, 256, evidence.guided.images.shape, dtype=np.uint8))
    found = values(digits_report(evidence._replace(guided=noise, unguided=noise), protocol))
    assert found["class_accuracy_guided"] < 0.3
    assert found["frechet_ratio"] > 20


def test_a_reader_that_is_not_good_enough_says_so(evidence: Evidence, protocol: DigitsProtocol) -> None:
    labels = evidence.held_out.labels.copy()
    labels[:20] = (labels[:20] + 1) % 10
    broken = evidence._replace(held_out=evidence.held_out._replace(labels=labels, broken=("a.png is empty",)))
    report = digits_report(broken, protocol)
    assert not report.are_goals_met
    assert any("not reliable enough: it reads only 8" in note for note in report.notes)
    assert any("1 of the held-out pictures can't be used" in note for note in report.notes)


def test_too_few_samples_are_refused(evidence: Evidence, protocol: DigitsProtocol) -> None:
    few = Samples(*(column[:199] for column in evidence.guided))
    with pytest.raises(BadInput, match="199 samples: draw at least 200"):
        digits_report(evidence._replace(guided=few), protocol)


def test_a_report_survives_its_file_and_names_its_protocol(evidence: Evidence, protocol: DigitsProtocol) -> None:
    report = digits_report(evidence, protocol)
    document = json.loads(report.to_json())
    assert document["protocol"]["guided"]["sampling"]["guidance_scale"] == 2.0
    assert document["protocol"]["train"] == {"num": 1000, "fingerprint": protocol.train.fingerprint}
    # These reconstructions are the scans themselves, which have no PSNR.
    assert list(document["results"]) == [f.name for f in DIGITS_FIGURES if f.name != "reconstruction_psnr"]
    assert "are made again exactly" in document["notes"][-1]
    read = Report.from_json(report.to_json())
    assert (read.results, read.notes) == (report.results, report.notes)
    assert read.to_json() == report.to_json()


def test_pictures_show_what_they_say(evidence: Evidence, protocol: DigitsProtocol) -> None:
    shown = panels(evidence, protocol)
    with_guidance, without = shown["samples"].groups.values()
    assert with_guidance.shape == without.shape == (10, 8, 32, 32, 3)
    third = evidence.guided.images[evidence.guided.labels == 3]
    np.testing.assert_array_equal(with_guidance[3], third[:8])
    scans, reconstructions = shown["reconstructions"].groups[""]
    np.testing.assert_array_equal(scans, reconstructions)
    page = draw_page(list(shown.values()), scale=2)
    assert page.dtype == np.uint8
    assert page.shape[0] < page.shape[1] * 2
