"""Feature shards and their folder: what was written is read, in any parts; what is damaged or doubled is named."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bar_model.errors import BadInput
from pipeline.features.folder import FeatureFolder, Summary
from pipeline.metrics.frechet import moments
from tests.harness.feature_folders import FEATURES, KEYS, save_features


def summary_of(url: str, max_kept: int | None = None) -> Summary:
    return FeatureFolder.open(url).summary(("a", "b"), ("b",), max_kept=max_kept)


def test_a_summary_is_the_same_however_the_shards_are_cut(tmp_path: Path) -> None:
    whole = summary_of(save_features(str(tmp_path / "whole"), [23]))
    assert whole.keys == KEYS
    np.testing.assert_array_equal(whole.features["b"], FEATURES["b"])
    np.testing.assert_array_equal(whole.moments["a"].covariance, moments(FEATURES["a"]).covariance)
    cut = summary_of(save_features(str(tmp_path / "cut"), [5, 1, 10, 7]))
    assert cut.keys == KEYS
    np.testing.assert_array_equal(cut.features["b"], FEATURES["b"])
    for name in ("a", "b"):
        for one, other in zip(cut.moments[name], whole.moments[name], strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("most", "rows"), [(23, range(23)), (4, [0, 5, 11, 17]), (1, [0])])
def test_what_is_kept_is_spaced_evenly(tmp_path: Path, most: int, rows: Sequence[int]) -> None:
    found = summary_of(save_features(str(tmp_path / "cut"), [5, 1, 10, 7]), max_kept=most)
    np.testing.assert_array_equal(found.features["b"], FEATURES["b"][list(rows)])
    assert found.moments["b"].num == 23


def test_what_is_doubled_missing_or_changed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds image k0 twice"):
        summary_of(save_features(str(tmp_path / "within"), [23], ("k0", *KEYS[:-1])))
    with pytest.raises(BadInput, match="holds image k0 twice"):
        summary_of(save_features(str(tmp_path / "between"), [20, 3], (*KEYS[:-1], "k0")))
    url = save_features(str(tmp_path / "cut"), [20, 3])
    path = sorted(Path(url).glob("features-*"))[1]
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(BadInput, match="not the file that the manifest names"):
        summary_of(url)
    path.unlink()
    with pytest.raises(BadInput, match="is missing"):
        summary_of(url)
