"""The nearest reference of each query, by brute force in bounded memory."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int64

from bar_model.errors import BadInput

CHUNK_ELEMENTS = 2**24
"""Squared distances held at once: 128 MiB."""


class Neighbours(NamedTuple):
    """For each query, the nearest reference in Euclidean distance (the first of equals), and how far away it is."""

    indices: Int64[np.ndarray, " queries"]
    distances: Float64[np.ndarray, " queries"]


def nearest(queries: Float[np.ndarray, "queries dims"], references: Float[np.ndarray, "references dims"]) -> Neighbours:
    """The nearest reference of each query. Memory is bounded for any numbers of both.

    Raises:
        BadInput: there are no references.
    """
    if not len(references):
        raise BadInput("no references: a nearest neighbour needs at least one")
    queries, references = queries.astype(np.float64), references.astype(np.float64)
    squares = (references**2).sum(axis=1)
    chunk = max(1, CHUNK_ELEMENTS // len(references))
    indices = np.zeros(len(queries), np.int64)
    for start in range(0, len(queries), chunk):
        some = queries[start : start + chunk]
        indices[start : start + chunk] = (squares - 2 * some @ references.T).argmin(axis=1)
    # The quick form above loses the small distances to rounding; the one that is kept is computed as it is defined.
    return Neighbours(indices, np.linalg.norm(queries - references[indices], axis=1))
