"""The Frechet distance by symmetric eigenvalues beside the one by scipy's matrix root, at Inception's 2,048 dimensions.

    python benchmarks/frechet.py

Both see the same moments, of 5,000 random vectors each with a spectrum that falls as those of features do.
"""

import os
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np
from scipy.linalg import sqrtm

from pipeline.metrics.frechet import Moments, frechet_distance, moments
from pipeline.pretrained.inception import DIMS

ROWS, REPEATS = 5000, 3


def main() -> None:
    rng = np.random.default_rng(0)
    scales = np.arange(1, DIMS + 1) ** -0.5
    first, second = (moments(rng.normal(shift, 1, (ROWS, DIMS)) * scales) for shift in (0.4, 0.5))
    ours, distance = timed(lambda: frechet_distance(first, second), REPEATS)
    theirs, expected = timed(lambda: by_matrix_root(first, second), 1)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, numpy {np.__version__}")
    print(f"symmetric eigenvalues: {ours:.2f} s   matrix root: {theirs:.2f} s   {theirs / ours:.1f} times as long")
    print(f"distances {distance:.10f} and {expected:.10f}: they differ by {abs(distance - expected):.1e}")


def by_matrix_root(first: Moments, second: Moments) -> float:
    """As the published evaluation computes it."""
    difference = first.mean - second.mean
    root = sqrtm(first.covariance @ second.covariance)
    traces = np.trace(first.covariance) + np.trace(second.covariance) - 2 * np.trace(root)
    return float(np.real(difference @ difference + traces))


def timed(carry_out: Callable[[], float], repeats: int) -> tuple[float, float]:
    """Median seconds, and what came of it."""
    seconds, result = [], 0.0
    for _ in range(repeats):
        start = time.perf_counter()
        result = carry_out()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), result


if __name__ == "__main__":
    main()
