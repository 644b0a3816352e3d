"""Precision, recall, density and coverage: which images lie among the nearest neighbours of which others.

A set's manifold is the union of balls about its feature vectors, each as wide as the k-th nearest other vector is far
(Kynkäänniemi et al., 2019; Naeem et al., 2020). All distances are squared.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from bar_model.errors import BadInput

NEIGHBOURS, DENSITY_NEIGHBOURS = 3, 5
BLOCK = 10_000
"""Vectors of each set whose distances are held at once, as in the published evaluation: 400 MB."""

Distances = Callable[
    [Float32[Tensor, "first dims"], Float32[Tensor, "second dims"]],
    Float32[Tensor, "first second"],
]


class PrecisionRecall(NamedTuple):
    """The share of samples within the reference's manifold, and of references within the manifold of the samples."""

    precision: float
    recall: float


class DensityCoverage(NamedTuple):
    """The mean number of the reference's balls that hold a sample, divided by k; the share of balls that hold any."""

    density: float
    coverage: float


def squared_distances(
    first: Float32[Tensor, "first dims"], second: Float32[Tensor, "second dims"]
) -> Float32[Tensor, "first second"]:
    """The squared Euclidean distances of all pairs, in float32."""
    return _expanded(first.square().sum(1), first @ second.T, second.square().sum(1))


def half_squared_distances(
    first: Float32[Tensor, "first dims"], second: Float32[Tensor, "second dims"]
) -> Float32[Tensor, "first second"]:
    """The squared distances of the published evaluation (ADM's): in float16, or in float32 if a block overflows there.

    Sums over dimensions are float32, rounded, as a GPU's matrix products are.
    """
    halves = first.half(), second.half()
    norms = [half.square().float().sum(1).half() for half in halves]
    products = (halves[0].float() @ halves[1].float().T).half()
    distances = _expanded(norms[0], products, norms[1])
    return distances.float() if bool(distances.isfinite().all()) else squared_distances(first, second)


def precision_recall(
    reference: Float[Tensor, "references dims"],
    samples: Float[Tensor, "samples dims"],
    distances: Distances = squared_distances,
) -> PrecisionRecall:
    """Precision and recall with k = 3. Results compare only if the numbers of images are the same.

    Raises:
        BadInput: there are too few images for so many neighbours.
    """
    reference, samples = reference.float(), samples.float()
    reference_radii = _radii(reference, NEIGHBOURS, distances)
    sample_radii = _radii(samples, NEIGHBOURS, distances)
    is_real = torch.zeros(len(samples), dtype=torch.bool, device=samples.device)
    is_found = torch.zeros(len(reference), dtype=torch.bool, device=samples.device)
    for of, among, block in _blocks(reference, samples, distances):
        is_real[among] |= (block <= reference_radii[of, None]).any(0)
        is_found[of] |= (block <= sample_radii[among]).any(1)
    return PrecisionRecall(_share(is_real), _share(is_found))


def density_coverage(
    reference: Float[Tensor, "references dims"], samples: Float[Tensor, "samples dims"]
) -> DensityCoverage:
    """Density and coverage with k = 5.

    Raises:
        BadInput: there are too few reference images for so many neighbours.
    """
    reference, samples = reference.float(), samples.float()
    radii = _radii(reference, DENSITY_NEIGHBOURS, squared_distances)
    num_within = torch.zeros(len(reference), dtype=torch.int64, device=reference.device)
    for of, _, block in _blocks(reference, samples, squared_distances):
        num_within[of] += (block < radii[of, None]).sum(1)
    density = num_within.sum().item() / (DENSITY_NEIGHBOURS * len(samples))
    return DensityCoverage(density, _share(num_within > 0))


def _radii(features: Float32[Tensor, "num dims"], neighbours: int, distances: Distances) -> Float32[Tensor, " num"]:
    """How far the k-th nearest other vector is. The nearest of all is the vector itself."""
    if len(features) <= neighbours:
        raise BadInput(f"{len(features)} pictures: {neighbours} nearest neighbours are looked for among the others")
    nearest = features.new_full((len(features), neighbours + 1), torch.inf)
    for of, _, block in _blocks(features, features, distances):
        few = block.topk(min(neighbours + 1, block.shape[1]), largest=False).values
        nearest[of] = torch.cat((nearest[of], few), dim=1).topk(neighbours + 1, largest=False).values
    return nearest.amax(1)


def _blocks(
    first: Float32[Tensor, "first dims"], second: Float32[Tensor, "second dims"], distances: Distances
) -> Iterator[tuple[slice, slice, Float32[Tensor, "rows columns"]]]:
    for start in range(0, len(first), BLOCK):
        for other in range(0, len(second), BLOCK):
            rows, columns = slice(start, start + BLOCK), slice(other, other + BLOCK)
            yield rows, columns, distances(first[rows], second[columns])


def _expanded(
    first: Float[Tensor, " first"], products: Float[Tensor, "first second"], second: Float[Tensor, " second"]
) -> Float[Tensor, "first second"]:
    """|u|² − 2·u·v + |v|², each step in the type of its numbers; what rounding makes less than 0 is 0."""
    return (first[:, None] - 2 * products + second).clamp(min=0)


def _share(flags: Bool[Tensor, " num"]) -> float:
    return flags.double().mean().item()
