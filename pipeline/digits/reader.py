"""The reader of digits: a support vector machine that is trained on real scans and used for judging alone."""

import numpy as np
from einops import reduce
from jaxtyping import Float64, Int, UInt8

from bar_model.errors import BadInput
from pipeline.digits.data import GREY_LEVELS, SCAN_SIDE

DESCRIPTION = f"sklearn SVC(gamma=0.001) on {SCAN_SIDE}×{SCAN_SIDE} box averages, 0 … {GREY_LEVELS}"


def features_8x8(images: UInt8[np.ndarray, "batch height width 3"]) -> Float64[np.ndarray, "batch 64"]:
    """Grey levels of 8×8 pixels by box averages, from 0 to 16, as scikit-learn has these scans.

    Raises:
        BadInput: the sides of the images are not multiples of 8.
    """
    height, width = images.shape[1:3]
    if height % SCAN_SIDE or width % SCAN_SIDE:
        raise BadInput(f"pictures of {height} × {width} px do not divide into {SCAN_SIDE}×{SCAN_SIDE} boxes")
    boxes = reduce(images.astype(np.float64), "b (h y) (w x) c -> b (h w)", "mean", h=SCAN_SIDE, w=SCAN_SIDE)
    return boxes * (GREY_LEVELS / 255)


class DigitsReader:
    """A classifier of digits, trained on real scans when it is made, and never on anything else."""

    def __init__(self, scans: Float64[np.ndarray, "scans 64"], labels: Int[np.ndarray, " scans"]) -> None:
        from sklearn.svm import SVC

        if len(np.unique(labels)) < 2:
            raise BadInput("the reader needs scans of at least 2 classes: check the folder of training scans")
        classifier = SVC(gamma=0.001)  # pyright: ignore[reportArgumentType]  (scikit-learn's own default is a text)
        self._classifier = classifier.fit(scans, labels)

    def accuracy(self, features: Float64[np.ndarray, "batch 64"], labels: Int[np.ndarray, " batch"]) -> float:
        """The share of features that are read as their label."""
        return float((self._classifier.predict(features) == labels).mean())
