"""Features are taken in batches of one shape, and packed with what was quarantined."""

import numpy as np
import pytest

from bar_model.errors import BadInput
from pipeline.evaluation.extract import ExtractFeatures, pack_all_features, pack_features
from pipeline.execution.manifest import Quarantined
from pipeline.execution.records import Records
from pipeline.execution.unit import Row
from pipeline.features.shard import decode_features, inspect_features


class MeanColours:
    """The smallest extractor; it keeps the shapes that it was given."""

    def __init__(self) -> None:
        self.shapes: set[tuple[int, ...]] = set()

    def __call__(self, images):
        self.shapes.add(tuple(images.shape))
        return {"colours": images.float().mean((2, 3)), "brightness": images.float().mean((1, 2, 3))[:, None]}


def test_batches_are_padded_and_their_padding_is_left_out() -> None:
    network = MeanColours()
    worker = ExtractFeatures(network, batch_size=4)
    images = np.random.default_rng(0).integers(0, 256, (11, 6, 6, 3), dtype=np.uint8)
    for num in (11, 4, 1, 0):
        records = Records([f"k{index}" for index in range(num)], (), [Quarantined("k", "there", "is empty")])
        row = worker({"images": images[:num], "records": records.to_json()})
        keys, features, quarantined = decode_features(pack_features({**row, "unit": "…"}), "it")
        assert len(keys) == num
        assert quarantined == (Quarantined("k", "there", "is empty"),)
        np.testing.assert_allclose(features["colours"], images[:num].mean((1, 2)), rtol=1e-5)
        assert features["brightness"].shape == (num, 1)
    assert network.shapes == {(4, 3, 6, 6)}


def test_a_unit_with_an_image_that_may_be_reached_later_is_not_kept() -> None:
    def row(passing: bool) -> Row:
        records = Records(["k0"], (), [Quarantined("k", "http://there/k", "answers 503", passing)])
        return {"records": records.to_json(), "features.a": np.zeros((1, 2), np.float32)}

    assert pack_all_features(row(False)) == pack_features(row(False))
    with pytest.raises(BadInput, match="http://there/k answers 503: run again later"):
        pack_all_features(row(True))
    assert inspect_features(pack_features(row(True))).quarantined[0].passing
