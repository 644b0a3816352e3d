"""PSNR and SSIM against their definitions."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from pipeline.metrics.pixels import mean_psnr, psnr, ssim


def test_psnr_of_a_known_error() -> None:
    first = np.full((3, 4, 4, 3), 100, np.uint8)
    second = first.copy()
    second[1] += 1
    second[2] = 0
    first[2] = 255
    np.testing.assert_allclose(psnr(first, second), [np.inf, 20 * np.log10(255), 0])


@pytest.mark.long
def test_ssim_is_as_it_was_defined() -> None:
    pictures = np.random.default_rng(2).integers(0, 256, (3, 24, 24, 3), dtype=np.uint8)
    made = np.clip(pictures + np.random.default_rng(3).normal(0, 20, pictures.shape), 0, 255).astype(np.uint8)

    def mean(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, 1.5, axes=(1, 2), radius=5, mode="mirror")

    x, y = pictures.astype(np.float64), made.astype(np.float64)
    covariance = mean(x * y) - mean(x) * mean(y)
    variances = mean(x * x) - mean(x) ** 2 + mean(y * y) - mean(y) ** 2
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    local = (2 * mean(x) * mean(y) + c1) * (2 * covariance + c2)
    local /= (mean(x) ** 2 + mean(y) ** 2 + c1) * (variances + c2)
    expected = local.mean(axis=(1, 2, 3))
    tensors = [torch.from_numpy(each).permute(0, 3, 1, 2) for each in (pictures, made)]
    np.testing.assert_allclose(ssim(*tensors), expected, atol=1e-5)
    assert ssim(*(each[..., :8, :8] for each in tensors)).isnan().all()


@pytest.mark.parametrize(
    ("values", "mean", "notes"),
    [
        ([20.0, 30.0], 25.0, []),
        ([20.0, 30.0, np.inf, 25.0, 25.0, 25.0], 25.0, ["1 of 6 pictures are made again exactly: the mean PSNR is"]),
        ([np.inf, np.inf], np.nan, ["2 of 2 pictures are made again exactly"]),
    ],
)
def test_pictures_that_are_made_again_exactly_are_counted_apart(
    values: list[float], mean: float, notes: list[str]
) -> None:
    found, told = mean_psnr(np.array(values, np.float32)[:, None])
    assert found == pytest.approx(mean, nan_ok=True)
    assert len(told) == len(notes)
    assert all(one.startswith(other) for one, other in zip(told, notes, strict=True))
