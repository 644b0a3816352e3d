"""PSNR, SSIM and rFID of reconstructions, however they are divided into batches."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from bar_model.errors import BadInput
from pipeline.metrics.frechet import Moments, moments
from pipeline.metrics.pixels import ssim
from pipeline.pretrained.inception import Inception, load_inception
from pipeline.training.learners.reconstruction import FeatureSums, ReconstructionQuality
from pipeline.training.step.ranks import Ranks

pytestmark = pytest.mark.long

pytest_plugins = ["tests.harness.fixtures_inception"]

CPU = torch.device("cpu")


def some_pictures(num: int, *, seed: int, size: int = 24) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num, size, size, 3), dtype=np.uint8)


def quality_of(pictures: np.ndarray, made: np.ndarray, inception: Inception | None, batch: int) -> dict[str, float]:
    quality = ReconstructionQuality(inception, CPU)
    for start in range(0, len(pictures), batch):
        quality.add(pictures[start : start + batch], made[start : start + batch])
    return quality.result(Ranks())


def test_rfid_is_the_frechet_distance_of_the_features(inception: Inception, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, made = some_pictures(5, seed=0), some_pictures(5, seed=1)
    features = [inception.features(torch.from_numpy(each).permute(0, 3, 1, 2)).numpy() for each in (pictures, made)]
    assert features[0].std(axis=0).max() > 1e-3, "dead features would prove nothing"
    asked = []  # The distance itself, seconds at 2,048 dimensions, has its own tests.
    monkeypatch.setattr(
        "pipeline.training.learners.reconstruction.frechet_distance", lambda *both: asked.append(both) or 7.0
    )
    assert quality_of(pictures, made, inception, 3)["rfid"] == 7.0
    ((real, fake),) = asked
    for found, expected in zip((real, fake), map(moments, features), strict=True):
        assert_same_moments(found, expected, rtol=1e-4, atol=1e-5)


def test_pictures_that_are_made_exactly_leave_the_mean_finite() -> None:
    pictures, made = some_pictures(6, seed=0), some_pictures(6, seed=1)
    made[2] = pictures[2]
    rest = [index for index in range(6) if index != 2]
    found = quality_of(pictures, made, None, 4)
    assert found["psnr"] == pytest.approx(quality_of(pictures[rest], made[rest], None, 5)["psnr"])
    assert "psnr" not in quality_of(pictures, pictures, None, 6)


def test_moments_are_the_same_however_the_features_come() -> None:
    features = np.random.default_rng(0).normal(3, 1, (20, 6)).astype(np.float32)
    for batch in (20, 7):
        sums = FeatureSums(6, CPU)
        for start in range(0, 20, batch):
            sums.add(torch.from_numpy(features[start : start + batch]))
        assert_same_moments(sums.moments(Ranks()), moments(features), rtol=1e-12, atol=1e-12)


def assert_same_moments(found: Moments, expected: Moments, rtol: float, atol: float) -> None:
    assert found.num == expected.num
    np.testing.assert_allclose(found.mean, expected.mean, rtol=rtol, atol=atol)
    np.testing.assert_allclose(found.covariance, expected.covariance, rtol=rtol, atol=atol)


def test_without_inception_or_with_one_picture_there_is_no_rfid(inception: Inception) -> None:
    pictures, made = some_pictures(2, seed=0), some_pictures(2, seed=1)
    assert set(quality_of(pictures, made, None, 2)) == {"psnr", "ssim"}
    assert set(quality_of(pictures[:1], made[:1], inception, 2)) == {"psnr", "ssim"}


def test_features_are_the_same_under_autocast(inception: Inception) -> None:
    images = torch.from_numpy(some_pictures(2, seed=0)).permute(0, 3, 1, 2)
    plain = inception.features(images)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(inception.features(images), plain)


def test_ssim_is_the_mean_over_pictures_that_are_as_large_as_its_window() -> None:
    pictures, made = some_pictures(3, seed=2), some_pictures(3, seed=3)
    tensors = [torch.from_numpy(each).permute(0, 3, 1, 2) for each in (pictures, made)]
    assert quality_of(pictures, made, None, 2)["ssim"] == pytest.approx(ssim(*tensors).mean().item(), abs=1e-5)
    assert "ssim" not in quality_of(pictures[:, :8, :8], made[:, :8, :8], None, 3)


def test_psnr_is_the_mean_over_pictures() -> None:
    pictures = np.zeros((2, 12, 12, 3), np.uint8)
    made = pictures + np.array([1, 10], np.uint8)[:, None, None, None]
    expected = (20 * math.log10(255) + 20 * math.log10(255 / 10)) / 2
    assert quality_of(pictures, made, None, 1)["psnr"] == pytest.approx(expected)


def test_other_weights_than_the_wanted_ones_are_refused(inception_file: tuple[str, str], tmp_path: Path) -> None:
    path, sha256 = inception_file
    with pytest.raises(BadInput, match=r"SHA-256 .* download http.*weights-inception.* networks\.inception"):
        load_inception(path, "0" * 64, CPU)
    with pytest.raises(BadInput, match=r"no inception weights .*; download http"):
        load_inception(str(tmp_path / "none.pth"), sha256, CPU)
