"""The Frechet distance against analytic Gaussians, scipy's matrix root and the nuclear norm."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from bar_model.errors import BadInput
from pipeline.metrics.frechet import Moments, RunningMoments, frechet_distance, moments

RNG = np.random.default_rng(0)


def gaussian(mean: list[float], deviation: list[float]) -> Moments:
    return Moments(2, np.array(mean), np.diag(np.array(deviation) ** 2))


def random_moments(dims: int, count: int) -> Moments:
    return moments(RNG.normal(size=(count, dims)) @ RNG.normal(size=(dims, dims)) + RNG.normal(size=dims))


def test_moments_are_those_of_numpy() -> None:
    features = RNG.normal(size=(50, 7)).astype(np.float32)
    found = moments(features)
    assert found.num == 50
    np.testing.assert_allclose(found.mean, features.astype(np.float64).mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(found.covariance, np.cov(features.astype(np.float64), rowvar=False), rtol=1e-12)


def test_distance_of_axis_aligned_gaussians_is_analytic() -> None:
    first, second = gaussian([0, 1, 2], [1, 2, 3]), gaussian([3, 1, 0], [2, 2, 1])
    assert frechet_distance(first, second) == pytest.approx(9 + 4 + 1 + 0 + 4, abs=1e-12)


def test_distance_equals_the_definition_by_a_matrix_root() -> None:
    first, second = random_moments(32, 200), random_moments(32, 300)
    root = np.real(sqrtm(first.covariance @ second.covariance))
    expected = ((first.mean - second.mean) ** 2).sum() + np.trace(first.covariance + second.covariance - 2 * root)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-10)
    assert frechet_distance(second, first) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("counts", [(200, 10), (10, 200), (10, 20)])
def test_distance_is_right_where_covariances_are_rank_deficient(counts: tuple[int, int]) -> None:
    """Against the nuclear norm of F₁·F₂ᵀ with S = Fᵀ·F, which takes no root of a rounded number."""
    sets = [RNG.normal(size=(count, 64)) for count in counts]
    factors = [(some - some.mean(axis=0)) / np.sqrt(len(some) - 1) for some in sets]
    overlap = np.linalg.svd(factors[0] @ factors[1].T, compute_uv=False).sum()
    first, second = map(moments, sets)
    expected = ((first.mean - second.mean) ** 2).sum() + np.trace(first.covariance + second.covariance) - 2 * overlap
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-10)


def test_distance_survives_a_covariance_that_rounding_has_made_negative_somewhere() -> None:
    """A root that follows the small pivot would have a column of 0.01 where no variance is."""
    rounded = np.array([[1, 0, 0], [0, 1e-10, 1e-7], [0, 1e-7, 0]])
    first, second = gaussian([0, 0, 0], [1, 1, 1]), Moments(2, np.zeros(3), rounded)
    values = np.linalg.eigvalsh(rounded)
    expected = 3 + np.trace(rounded) - 2 * np.sqrt(values[values > 0]).sum()
    for one, other in ((first, second), (second, first)):
        assert frechet_distance(one, other) == pytest.approx(expected, abs=1e-9)


def test_distance_to_itself_and_to_a_single_point_vanishes() -> None:
    full, deficient = random_moments(64, 500), random_moments(64, 10)
    assert frechet_distance(full, full) == pytest.approx(0, abs=1e-9 * np.trace(full.covariance))
    assert frechet_distance(deficient, deficient) == pytest.approx(0, abs=1e-9 * np.trace(deficient.covariance))
    point = gaussian([1, 2], [0, 0])
    assert frechet_distance(point, point) == 0


def test_what_can_not_be_compared_is_named() -> None:
    with pytest.raises(BadInput, match="2 and of 3 dimensions"):
        frechet_distance(gaussian([0, 0], [1, 1]), gaussian([0, 0, 0], [1, 1, 1]))
    with pytest.raises(BadInput, match="at least 2"):
        moments(np.zeros((1, 4)))


def test_moments_are_the_same_to_the_last_bit_however_features_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.metrics.frechet.CHUNK_ROWS", 16)
    features = RNG.normal(3, 1, (50, 7)).astype(np.float32)
    found = moments(features)
    np.testing.assert_allclose(found.mean, features.astype(np.float64).mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(found.covariance, np.cov(features.astype(np.float64), rowvar=False), rtol=1e-12)
    for sizes in ([50], [1] * 50, [16, 16, 18], [15, 33, 0, 2]):
        running = RunningMoments()
        for part in np.split(features, np.cumsum(sizes)[:-1]):
            running.add(part)
        for one, other in zip(running.result(), found, strict=True):
            np.testing.assert_array_equal(one, other)


def test_features_that_are_not_finite_are_refused() -> None:
    features = RNG.normal(size=(10, 3))
    features[4, 1] = np.nan
    with pytest.raises(BadInput, match="NaN"):
        moments(features)
