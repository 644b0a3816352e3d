"""What samples are compared with: a published npz of moments and pictures, or pictures of one's own."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64

from bar_model.errors import BadInput
from pipeline.evaluation.image_sets import IMAGES_ARRAY, ImageSet, NpzImageSet, image_set_fingerprint, open_image_set
from pipeline.features.folder import FeatureFolder, Summary
from pipeline.metrics.frechet import Moments
from pipeline.storage import local_copy

MOMENTS = {"pool3": ("mu", "sigma"), "spatial": ("mu_s", "sigma_s")}
"""Arrays of an npz file that hold the moments of features, by the features' name."""
DINOV2 = "dinov2"
"""Features whose moments no such file holds."""
MAX_IMAGES = 10_000
"""Reference pictures whose neighbours are looked at: as many as the published reference holds."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Moments that a file brings along, and pictures, if any, for everything else."""

    identity: str
    """SHA-256 of the file, or a digest over the pictures."""
    moments: Mapping[str, Moments] = field(repr=False)
    image_set: ImageSet | None
    wanted: tuple[str, ...] = tuple(MOMENTS)
    """Features whose moments are compared."""

    @property
    def to_compute(self) -> tuple[str, ...]:
        """Features whose moments are the pictures': all, or none where the file brings any of its own.

        For those that are published are of more pictures than the file holds.
        """
        return () if self.moments or self.image_set is None else self.wanted

    @property
    def missing(self) -> tuple[str, ...]:
        """What can't be measured with it, in words."""
        reasons = {
            "no FID": "pool3" not in (*self.moments, *self.to_compute) and "mu, sigma",
            "no sFID": "spatial" not in (*self.moments, *self.to_compute) and "mu_s, sigma_s",
            "no FD-DINOv2": DINOV2 in self.wanted
            and DINOV2 not in self.to_compute
            and "pictures alone, as a folder has",
            "no precision, recall, KID, density, coverage": self.image_set is None and IMAGES_ARRAY,
        }
        return tuple(f"The reference has no {reason}: {what}." for what, reason in reasons.items() if reason)

    def summary(self, features: FeatureFolder | None) -> Summary:
        """`features` are those of its pictures, if it has any."""
        if features is None:
            return Summary((), self.moments, {})
        computed = features.summary(self.to_compute, ("pool3",), max_kept=MAX_IMAGES)
        return computed._replace(moments={**computed.moments, **self.moments})


def open_reference(url: str, image_size: int, wanted: tuple[str, ...] = tuple(MOMENTS)) -> Reference:
    """An npz file or a folder of pictures, to compare moments of these features.

    BadInput where it is neither, or made for pictures of another size.
    """
    if not url.endswith(".npz"):
        image_set = open_image_set(url, image_size)
        return Reference(identity=image_set_fingerprint(image_set), moments={}, image_set=image_set, wanted=wanted)
    file = NpzImageSet(url)
    moments = {
        name: _moments(url, *arrays) for name, arrays in MOMENTS.items() if all(array in file.names for array in arrays)
    }
    has_pictures = IMAGES_ARRAY in file.names
    if not moments and not has_pictures:
        raise BadInput(f"{url} holds none of {IMAGES_ARRAY}, mu and sigma, only {', '.join(file.names)}")
    image_set = open_image_set(url, image_size) if has_pictures else None
    return Reference(identity=file.sha256, moments=moments, image_set=image_set, wanted=wanted)


def _moments(url: str, mean_name: str, covariance_name: str) -> Moments:
    try:
        with np.load(local_copy(url), allow_pickle=False) as arrays:
            mean, covariance = (arrays[name].astype(np.float64) for name in (mean_name, covariance_name))
    except ValueError as error:
        raise BadInput(f"{url}: {mean_name} or {covariance_name} holds no numbers ({error})") from error
    if not _are_moments(mean, covariance):
        raise BadInput(
            f"{url}: {mean_name} {mean.shape} and {covariance_name} {covariance.shape} are no mean and covariance: "
            "finite numbers are expected, the second a symmetric square"
        )
    return Moments(None, mean, covariance)


def _are_moments(mean: Float64[np.ndarray, "..."], covariance: Float64[np.ndarray, "..."]) -> bool:
    return (
        mean.ndim == 1
        and covariance.shape == (len(mean), len(mean))
        and bool(np.isfinite(mean).all() and np.isfinite(covariance).all())
        and np.allclose(covariance, covariance.T, rtol=1e-4, atol=1e-6)
    )
