"""The reader of digits."""

import numpy as np
import pytest

from bar_model.errors import BadInput
from pipeline.digits.protocol import LabelledImages
from pipeline.digits.reader import DigitsReader, features_8x8
from tests.harness.scans import enlarged

pytestmark = pytest.mark.long

pytest_plugins = ["tests.harness.fixtures_digits"]

RNG = np.random.default_rng(0)


def test_features_are_the_scans_themselves() -> None:
    scans = RNG.integers(0, 17, (5, 64))
    np.testing.assert_allclose(features_8x8(enlarged(scans)), scans, atol=16 / 255 / 2)
    with pytest.raises(BadInput, match="do not divide"):
        features_8x8(np.zeros((1, 30, 30, 3), np.uint8))


def test_the_reader_reads_scans_that_it_has_not_seen(digits: LabelledImages) -> None:
    features = features_8x8(digits.images)
    reader = DigitsReader(features[:1400], digits.labels[:1400])
    assert reader.accuracy(features[1400:], digits.labels[1400:]) >= 0.98
    assert reader.accuracy(features[1400:], (digits.labels[1400:] + 1) % 10) < 0.02
