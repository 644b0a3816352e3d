"""How near a tokenizer's reconstructions come to their images: PSNR and SSIM of each, rFID of all."""

import math

import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor

from pipeline.metrics.frechet import Moments, frechet_distance
from pipeline.metrics.pixels import psnr, ssim
from pipeline.pretrained.inception import DIMS, Inception
from pipeline.training.step.ranks import Ranks


class ReconstructionQuality:
    """PSNR, SSIM and rFID of images and their reconstructions, on any number of ranks; only sums are kept."""

    def __init__(self, inception: Inception | None, device: torch.device) -> None:
        """A measurement without images yet; without Inception there is no rFID."""
        self._inception = inception
        self._device = device
        # Sums: images, those that are not made exactly and so have a PSNR, PSNR, SSIM.
        self._pixels = torch.zeros(4, dtype=torch.float64, device=device)
        self._features = [] if inception is None else [FeatureSums(DIMS, device), FeatureSums(DIMS, device)]

    def add(
        self, images: UInt8[np.ndarray, "batch height width 3"], made: UInt8[np.ndarray, "batch height width 3"]
    ) -> None:
        """Adds images and, in the same order, their reconstructions."""
        both = [torch.from_numpy(each).to(self._device).permute(0, 3, 1, 2) for each in (images, made)]
        decibels = psnr(images, made)
        inexact = decibels[np.isfinite(decibels)]
        self._pixels += self._pixels.new_tensor([len(images), len(inexact), inexact.sum(), ssim(*both).sum().item()])
        if self._inception is not None:
            for sums, each in zip(self._features, both, strict=True):
                sums.add(self._inception.features(each))

    def result(self, ranks: Ranks) -> dict[str, float]:
        """The figures `psnr` (dB), `ssim` and `rfid` over the images of all ranks, as far as they can be measured.

        PSNR is the mean of those that are finite: of the images that are not made again exactly.

        All ranks have to call it together, and only once.
        """
        num, num_inexact, decibels, similarity = ranks.sum(self._pixels).tolist()
        result = {"psnr": decibels / num_inexact} if num_inexact else {}
        if not math.isnan(similarity):
            result["ssim"] = similarity / num
        if self._features and num > 1:
            real, fake = (sums.moments(ranks) for sums in self._features)
            result["rfid"] = frechet_distance(real, fake)
        return result


class FeatureSums:
    """The sums from which moments are computed, in float64: number, sum, and sum of outer products of features."""

    def __init__(self, dims: int, device: torch.device) -> None:
        """Sums over no features of `dims` dimensions yet."""
        self._dims = dims
        self._sums = torch.zeros(1 + dims + dims * dims, dtype=torch.float64, device=device)

    def add(self, features: Float[Tensor, "batch dims"]) -> None:
        """Adds the features of some images."""
        features = features.double()
        products = (features.T @ features).flatten()
        self._sums += torch.cat((self._sums.new_tensor([len(features)]), features.sum(0), products))

    def moments(self, ranks: Ranks) -> Moments:
        """The moments of all ranks' features; all ranks have to call it together."""
        sums: Float64[np.ndarray, " sums"] = ranks.sum(self._sums).cpu().numpy()
        num, mean = int(sums[0]), sums[1 : 1 + self._dims] / sums[0]
        centred = sums[1 + self._dims :].reshape(self._dims, self._dims) - num * np.outer(mean, mean)
        return Moments(num, mean, centred / (num - 1))
