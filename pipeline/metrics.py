"""Numbers that compare sets of pictures: Frechet distance, nearest neighbours, PSNR; all in float64."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int64, UInt8

from bar_model.errors import BadInput

CHUNK_ELEMENTS = 2**24
"""Squared distances held at once: 128 MiB."""


class Moments(NamedTuple):
    """Mean and covariance (unbiased) of `num` feature vectors."""

    num: int
    mean: Float64[np.ndarray, " dims"]
    covariance: Float64[np.ndarray, "dims dims"]


class Neighbours(NamedTuple):
    """For each query, which reference is nearest in Euclidean distance (the first of equals), and how far it is."""

    indices: Int64[np.ndarray, " queries"]
    distances: Float64[np.ndarray, " queries"]


def moments(features: Float[np.ndarray, "num dims"]) -> Moments:
    num = len(features)
    if num < 2:
        raise BadInput(f"{num} feature vectors: a covariance takes at least 2")
    features = features.astype(np.float64)
    mean = features.mean(axis=0)
    centred = features - mean
    return Moments(num, mean, centred.T @ centred / (num - 1))


def frechet_distance(first: Moments, second: Moments) -> float:
    """|μ₁ − μ₂|² + tr(S₁ + S₂ − 2·(S₁·S₂)^½): squared 2-Wasserstein distance of two Gaussians (Dowson & Landau, 1982).

    S₁·S₂ has the eigenvalues of S₂^½ᵀ·S₁·S₂^½, which is symmetric: so they are real, and quick to find. What rounding
    makes of an eigenvalue 0, as sets smaller than the dimension have them, is no part of the sum.
    """
    if first.mean.shape != second.mean.shape:
        raise BadInput(f"features of {len(first.mean)} and of {len(second.mean)} dimensions can't be compared")
    values, vectors = np.linalg.eigh(second.covariance)
    is_real = _above_rounding(values)
    root = vectors[:, is_real] * np.sqrt(values[is_real])
    product = np.linalg.eigvalsh(root.T @ first.covariance @ root)
    overlap = np.sqrt(product[_above_rounding(product)]).sum()
    difference = first.mean - second.mean
    return float(difference @ difference + np.trace(first.covariance) + np.trace(second.covariance) - 2 * overlap)


def nearest(queries: Float[np.ndarray, "queries dims"], references: Float[np.ndarray, "references dims"]) -> Neighbours:
    """The nearest reference of each query; memory is bounded whatever their numbers."""
    if not len(references):
        raise BadInput("no references: nearest neighbours are looked for among at least one")
    queries, references = queries.astype(np.float64), references.astype(np.float64)
    squares = (references**2).sum(axis=1)
    chunk = max(1, CHUNK_ELEMENTS // len(references))
    indices = np.zeros(len(queries), np.int64)
    for start in range(0, len(queries), chunk):
        some = queries[start : start + chunk]
        indices[start : start + chunk] = (squares - 2 * some @ references.T).argmin(axis=1)
    # The quick form above loses the small distances to rounding; the one that is kept is computed as it is defined.
    return Neighbours(indices, np.linalg.norm(queries - references[indices], axis=1))


def psnr(
    first: UInt8[np.ndarray, "batch height width 3"], second: UInt8[np.ndarray, "batch height width 3"]
) -> Float64[np.ndarray, " batch"]:
    """Peak signal-to-noise ratio of each pair of pictures in dB; infinite where they are equal."""
    errors = ((first.astype(np.float64) - second) ** 2).mean(axis=(1, 2, 3))
    with np.errstate(divide="ignore"):
        return 10 * np.log10(255**2 / errors)


def _above_rounding(eigenvalues: Float64[np.ndarray, " dims"]) -> np.ndarray:
    """Which eigenvalues (ascending) of a positive semi-definite matrix can be told from 0."""
    if not len(eigenvalues):
        return np.zeros(0, np.bool_)
    return eigenvalues > eigenvalues[-1] * len(eigenvalues) * np.finfo(np.float64).eps
