"""How near a picture comes to another, pixel by pixel: PSNR and SSIM."""

import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor

SSIM_WINDOW = 11
"""Pixels: the Gaussian window's side (sigma 1.5). Smaller images have no SSIM."""


def psnr(
    first: UInt8[np.ndarray, "batch height width 3"], second: UInt8[np.ndarray, "batch height width 3"]
) -> Float64[np.ndarray, " batch"]:
    """Peak signal-to-noise ratio of each pair of images in dB, infinite for equal ones."""
    errors = ((first.astype(np.float64) - second) ** 2).mean(axis=(1, 2, 3))
    with np.errstate(divide="ignore"):
        return 10 * np.log10(255**2 / errors)


def mean_psnr(values: Float[np.ndarray, "..."]) -> tuple[float, tuple[str, ...]]:
    """The mean PSNR of the pictures that have one, NaN for none, and a sentence on those that were made exactly."""
    has_errors = np.isfinite(values)
    num_exact = int((~has_errors).sum())
    mean = float(np.mean(values[has_errors], dtype=np.float64)) if has_errors.any() else float("nan")
    if not num_exact:
        return mean, ()
    return mean, (f"{num_exact:,} of {values.size:,} pictures are made again exactly: the mean PSNR is without them.",)


def ssim(
    first: UInt8[Tensor, "batch 3 height width"], second: UInt8[Tensor, "batch 3 height width"]
) -> Float[Tensor, " batch"]:
    """Structural similarity of each pair (Wang et al., 2004); NaN for images smaller than its window."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    if min(first.shape[-2:]) < SSIM_WINDOW:
        return torch.full((len(first),), torch.nan)
    similarity = structural_similarity_index_measure(
        first.float(), second.float(), data_range=255.0, reduction="none", sigma=1.5, kernel_size=SSIM_WINDOW
    )
    assert isinstance(similarity, Tensor)
    return similarity
