"""Precision, recall, density and coverage against brute force and torch-fidelity, in any blocks."""

import numpy as np
import pytest
import torch
from torch_fidelity.metric_prc import calculate_precision_recall_full

from bar_model.errors import BadInput
from pipeline.metrics import precision_recall as manifold
from pipeline.metrics.precision_recall import (
    density_coverage,
    half_squared_distances,
    precision_recall,
    squared_distances,
)


def features(num: int, *, seed: int, shift: float = 0.0, dims: int = 16) -> torch.Tensor:
    return torch.randn(num, dims, generator=torch.Generator().manual_seed(seed)) + shift


REFERENCE, SAMPLES = features(60, seed=0), features(83, seed=1, shift=0.35)


def table(first: torch.Tensor, second: torch.Tensor) -> np.ndarray:
    return ((first.double()[:, None] - second.double()) ** 2).sum(-1).numpy()


def radii(some: torch.Tensor, neighbours: int) -> np.ndarray:
    return np.sort(table(some, some), axis=1)[:, neighbours]


@pytest.fixture(params=[10_000, 7])
def _blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifold, "BLOCK", request.param)


@pytest.mark.usefixtures("_blocks")
def test_precision_and_recall_equal_brute_force_and_torch_fidelity_with_unequal_numbers() -> None:
    found = precision_recall(REFERENCE, SAMPLES)
    between = table(REFERENCE, SAMPLES)
    precision = (between <= radii(REFERENCE, 3)[:, None]).any(0).mean()
    recall = (between <= radii(SAMPLES, 3)).any(1).mean()
    assert found == pytest.approx((precision, recall))
    assert found == pytest.approx(calculate_precision_recall_full(SAMPLES, REFERENCE, 3))
    assert 0.1 < recall < precision < 1, "all or nothing would prove nothing"
    assert precision_recall(SAMPLES, REFERENCE) == pytest.approx((recall, precision))


@pytest.mark.usefixtures("_blocks")
def test_density_and_coverage_equal_brute_force() -> None:
    few = SAMPLES[:20] + 0.4
    within = table(REFERENCE, few) < radii(REFERENCE, 5)[:, None]
    found = density_coverage(REFERENCE, few)
    assert found == pytest.approx((within.sum() / (5 * len(few)), within.any(1).mean()))
    assert 0.2 < found.coverage < 1


def test_half_distances_are_numpys_step_by_step() -> None:
    found = half_squared_distances(REFERENCE, SAMPLES).numpy()
    first, second = (some.numpy().astype(np.float16) for some in (REFERENCE, SAMPLES))
    norms = [(half * half).astype(np.float32).sum(1).astype(np.float16) for half in (first, second)]
    products = (first.astype(np.float32) @ second.astype(np.float32).T).astype(np.float16)
    expected = norms[0][:, None] - np.float16(2) * products + norms[1]
    assert expected.dtype == np.float16
    np.testing.assert_array_equal(found, np.maximum(expected, 0))
    exact = table(REFERENCE, SAMPLES)
    assert np.abs(found - exact).max() > 1e-3, "the rule is coarser than float32, by design"
    np.testing.assert_allclose(squared_distances(REFERENCE, SAMPLES), exact, rtol=1e-5)


def test_half_distances_that_overflow_are_those_of_float32() -> None:
    large = 200 * REFERENCE
    assert not torch.isfinite((large.half() ** 2).sum(1)).all()
    torch.testing.assert_close(half_squared_distances(large, large), squared_distances(large, large))


def test_half_distances_decide_otherwise_where_samples_crowd() -> None:
    """Far from the origin float16 can't tell neighbours apart: the two rules go by names of their own."""
    reference, samples = features(60, seed=0, shift=8), features(60, seed=1, shift=8.3)
    assert precision_recall(reference, samples, half_squared_distances) != precision_recall(reference, samples)


def test_copies_are_precise_and_far_samples_are_not() -> None:
    assert precision_recall(REFERENCE, REFERENCE.clone()) == (1, 1)
    assert precision_recall(REFERENCE, SAMPLES + 100) == (0, 0)
    assert density_coverage(REFERENCE, SAMPLES + 100) == (0, 0)


def test_too_few_pictures_have_no_neighbours() -> None:
    with pytest.raises(BadInput, match="3 pictures: 3 nearest"):
        precision_recall(REFERENCE, SAMPLES[:3])
    with pytest.raises(BadInput, match="5 pictures: 5 nearest"):
        density_coverage(REFERENCE[:5], SAMPLES)
