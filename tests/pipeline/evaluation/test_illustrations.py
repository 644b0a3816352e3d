"""What a report on samples shows."""

import numpy as np

from pipeline.evaluation.illustrations import cost_shown, samples_shown
from tests.harness.reports import report

IMAGES = np.random.default_rng(0).integers(0, 256, (23, 8, 8, 3), dtype=np.uint8)


def test_whole_rows_of_samples_are_shown() -> None:
    assert "first 20 of" in samples_shown(IMAGES, "them").about
    assert "first 7 of" in samples_shown(IMAGES[:7], "them").about


def test_costs_are_placed_beside_the_published_and_named_apart() -> None:
    illustration = cost_shown(300.0, report(300.0).protocol.measurement, None, None)
    assert "not ranked" in illustration.about
    assert "not known" in illustration.about
    assert "1 × H200" in illustration.about
