"""Nearest references against brute force."""

import numpy as np
import pytest

from bar_model.errors import BadInput
from pipeline.metrics.nearest import nearest

RNG = np.random.default_rng(0)


def test_neighbours_equal_brute_force_in_any_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, references = RNG.normal(size=(37, 8)), RNG.normal(size=(50, 8))
    table = np.linalg.norm(queries[:, None] - references, axis=-1)
    for elements in (2**24, 150, 1):
        monkeypatch.setattr("pipeline.metrics.nearest.CHUNK_ELEMENTS", elements)
        found = nearest(queries, references)
        np.testing.assert_array_equal(found.indices, table.argmin(axis=1))
        np.testing.assert_allclose(found.distances, table.min(axis=1), rtol=1e-14)


def test_a_copy_is_at_distance_zero() -> None:
    references = RNG.integers(0, 256, (100, 64)).astype(np.float64)
    np.testing.assert_array_equal(nearest(references[::-1], references).indices, np.arange(100)[::-1])
    np.testing.assert_array_equal(nearest(references, references).distances, 0)


def test_no_references_at_all_are_refused() -> None:
    with pytest.raises(BadInput, match="no references"):
        nearest(np.zeros((1, 4)), np.zeros((0, 4)))
