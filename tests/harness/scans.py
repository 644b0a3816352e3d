"""scikit-learn's scans of digits in the shapes that an evaluation takes."""

import numpy as np

from pipeline.digits.protocol import LabelledImages
from pipeline.samples.shard import Samples


def enlarged(scans: np.ndarray) -> np.ndarray:
    """scikit-learn's 8×8 scans, 0 … 16, as pictures of 32 px."""
    pixels = (scans.reshape(-1, 8, 8) * (255 / 16)).round().astype(np.uint8)
    return np.repeat(pixels.repeat(4, axis=1).repeat(4, axis=2)[..., None], 3, axis=3)


def some(pictures: LabelledImages, start: int, stop: int) -> LabelledImages:
    return LabelledImages(pictures.images[start:stop], pictures.labels[start:stop])


def as_samples(pictures: LabelledImages) -> Samples:
    num = len(pictures.images)
    return Samples(np.arange(num), pictures.labels, pictures.images, np.zeros((num, 2), np.uint8))
