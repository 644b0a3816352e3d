"""References, which samples are compared with: a published npz of moments and images, or a folder of images."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from jaxtyping import Float64

from bar_model.errors import BadInput, one_line
from pipeline.evaluation.image_sets import (
    IMAGES_ARRAY,
    ImageSet,
    NpzImageSet,
    image_set_fingerprint,
    open_image_set,
    read_array_header,
    reading_npz,
)
from pipeline.features.folder import FeatureFolder, Summary
from pipeline.images.source_config import SourceConfig
from pipeline.metrics.frechet import Moments
from pipeline.pretrained.inception import FEATURE_DIMS
from pipeline.storage import local_copy

MOMENTS = {"pool3": ("mu", "sigma"), "spatial": ("mu_s", "sigma_s")}
"""The arrays of an npz file that hold the moments of features, by the name of the features."""
DINOV2 = "dinov2"
"""Features whose moments no such file holds."""
MAX_IMAGES = 10_000
"""The most reference images whose neighbours are compared: as many as the published reference holds."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The moments that a file holds, and images, if there are any, for everything else."""

    identity: str
    """SHA-256 of the file, or a fingerprint of the images."""
    moments: Mapping[str, Moments] = field(repr=False)
    image_set: ImageSet | None
    needed: tuple[str, ...] = tuple(MOMENTS)
    """Features whose moments are compared."""

    @property
    def to_compute(self) -> tuple[str, ...]:
        """The features whose moments are computed from the images: all, or none if the file holds moments.

        Published moments are of more images than the file holds, so they are not mixed with computed ones.
        """
        return () if self.moments or self.image_set is None else self.needed

    @property
    def missing(self) -> tuple[str, ...]:
        """Sentences on what can't be measured with this reference."""
        there = {*self.moments, *self.to_compute}
        lacking: list[tuple[str, str]] = []
        if "pool3" not in there:
            lacking.append(("mu, sigma", "no FID"))
        if "spatial" not in there:
            lacking.append(("mu_s, sigma_s", "no sFID"))
        if DINOV2 in self.needed and DINOV2 not in self.to_compute:
            lacking.append(("pictures alone, as a folder has", "no FD-DINOv2"))
        if self.image_set is None:
            lacking.append((IMAGES_ARRAY, "no precision, recall, KID, density, coverage"))
        return tuple(f"The reference has no {what}: {effect}." for what, effect in lacking)

    def summary(self, features: FeatureFolder | None) -> Summary:
        """What samples are compared with. `features` are those of the reference's images, if it has any."""
        if features is None:
            return Summary((), self.moments, {})
        computed = features.summary(self.to_compute, ("pool3",), max_kept=MAX_IMAGES)
        return computed._replace(moments={**computed.moments, **self.moments})


def open_reference(
    url: str, image_size: int, needed: tuple[str, ...] = tuple(MOMENTS), *, sources: SourceConfig | None = None
) -> Reference:
    """The reference in an npz file or a folder of images, to compare moments of the features `needed`.

    `sources` says how images are read.

    Raises:
        BadInput: it is neither, or its images have another size.
    """
    if not url.lower().endswith(".npz"):
        image_set = open_image_set(url, image_size, sources=sources)
        return Reference(identity=image_set_fingerprint(image_set), moments={}, image_set=image_set, needed=needed)
    file = NpzImageSet(url)
    moments = {
        name: _moments(url, *arrays) for name, arrays in MOMENTS.items() if all(array in file.names for array in arrays)
    }
    has_pictures = IMAGES_ARRAY in file.names
    if not moments and not has_pictures:
        raise BadInput(f"{url} holds none of {IMAGES_ARRAY}, mu and sigma, only {', '.join(file.names)}")
    image_set = open_image_set(url, image_size) if has_pictures else None
    return Reference(identity=file.sha256, moments=moments, image_set=image_set, needed=needed)


def check_reference(url: str, reference: Reference) -> None:
    """Checks, before features are taken of anything, that a reference can be compared with.

    Raises:
        BadInput: its moments are of other features than Inception's, its pictures are not what their checksum says, or
            it has nothing but a single picture.
    """
    for name, found in reference.moments.items():
        if len(found.mean) != FEATURE_DIMS[name]:
            raise BadInput(
                f"{url}: {MOMENTS[name][0]} has {len(found.mean):,} dimensions, but {name} of Inception-v3 has "
                f"{FEATURE_DIMS[name]:,}: give moments of these features"
            )
    if isinstance(reference.image_set, NpzImageSet):
        reference.image_set.check_content()
    if reference.to_compute and reference.image_set is not None:
        num = sum(unit.size for unit in islice(reference.image_set.plan(), 2))
        if num < 2:
            raise BadInput(f"{url} holds {num} picture: a distribution is compared with, which takes at least 2")


def _moments(url: str, mean_name: str, covariance_name: str) -> Moments:
    with reading_npz(url), np.load(local_copy(url), allow_pickle=False) as arrays:
        try:
            for name in (mean_name, covariance_name):
                shape, _, dtype, num_bytes = read_array_header(arrays.zip, name)
                if not dtype.hasobject and math.prod(shape) * dtype.itemsize != num_bytes:
                    # numpy takes memory for what a header claims before it reads on.
                    raise BadInput(f"{url} is damaged: {name} has {num_bytes:,} bytes for {dtype} {shape}")
            found = [arrays[name] for name in (mean_name, covariance_name)]
        except BadInput:
            raise
        except ValueError as error:
            raise BadInput(f"{url}: {mean_name} or {covariance_name} holds no numbers ({one_line(error)})") from error
    if any(array.dtype.kind not in "fiu" for array in found):
        kinds = " and ".join(str(array.dtype) for array in found)
        raise BadInput(f"{url}: {mean_name} or {covariance_name} holds no numbers, but {kinds}")
    mean, covariance = (array.astype(np.float64) for array in found)
    if not _are_moments(mean, covariance):
        raise BadInput(
            f"{url}: {mean_name} {mean.shape} and {covariance_name} {covariance.shape} are no mean and covariance: "
            "finite numbers are expected, the second a symmetric square"
        )
    return Moments(None, mean, covariance)


def _are_moments(mean: Float64[np.ndarray, "..."], covariance: Float64[np.ndarray, "..."]) -> bool:
    return (
        mean.ndim == 1
        and len(mean) > 0
        and covariance.shape == (len(mean), len(mean))
        and bool(np.isfinite(mean).all() and np.isfinite(covariance).all())
        and np.allclose(covariance, covariance.T, rtol=1e-4, atol=1e-6)
    )
