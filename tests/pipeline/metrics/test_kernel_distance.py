"""KID against its definition."""

import numpy as np
import pytest

from bar_model.errors import BadInput
from pipeline.metrics.kernel_distance import kernel_distance

RNG = np.random.default_rng(0)


def test_kernel_distance_is_the_unbiased_one_of_each_subset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.metrics.kernel_distance.KID_SUBSET", 100)
    first, second = RNG.normal(size=(100, 4)), RNG.normal(0.5, 1, size=(100, 4))

    def mean(one: np.ndarray, other: np.ndarray, without: int) -> float:
        kernel = (one @ other.T / 4 + 1) ** 3
        return (kernel.sum() - without * np.trace(kernel)) / (len(one) * (len(other) - without))

    expected = mean(first, first, 1) + mean(second, second, 1) - 2 * mean(first, second, 0)
    assert kernel_distance(first, second) == pytest.approx(expected, rel=1e-9)  # All are every subset.
    with pytest.raises(BadInput, match="99 pictures"):
        kernel_distance(first[:99], second)
