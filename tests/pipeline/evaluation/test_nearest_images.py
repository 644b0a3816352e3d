"""Nearest pictures in feature space, however they are cut into shards, against brute force."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.evaluation import image_sets
from pipeline.evaluation.illustrations import neighbours_shown
from pipeline.evaluation.image_sets import open_image_set
from pipeline.evaluation.nearest_images import nearest_images
from pipeline.features.folder import FeatureFolder
from tests.harness.feature_folders import save_features

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (23, 8, 8, 3), dtype=np.uint8)
POOL3 = RNG.normal(size=(23, 6)).astype(np.float32)
QUERIES = RNG.normal(size=(5, 6)).astype(np.float32)


def test_they_equal_brute_force_in_any_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "real.npz", arr_0=IMAGES)
    table = np.linalg.norm(QUERIES[:, None].astype(np.float64) - POOL3, axis=-1)
    expected = table.argsort(axis=1)[:, :4]
    image_set = open_image_set(str(tmp_path / "real.npz"), 8)
    for size in (23, 10, 3, 1):
        monkeypatch.setattr(image_sets, "UNIT_SIZE", size)
        sizes = [unit.size for unit in image_set.plan()]
        url = save_features(str(tmp_path / f"features-{size}"), sizes, features={"pool3": POOL3})
        images, distances = nearest_images(QUERIES, image_set, FeatureFolder.open(url), 4)
        np.testing.assert_array_equal(images, IMAGES[expected])
        np.testing.assert_allclose(distances, np.take_along_axis(table, expected, axis=1), rtol=1e-6)
    shown = neighbours_shown(IMAGES, POOL3, image_set, FeatureFolder.open(url), "real.npz")
    assert "the 4 pictures of real.npz" in shown.about
