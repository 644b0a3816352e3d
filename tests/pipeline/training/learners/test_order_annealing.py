"""Orders are annealed as published."""

import pytest

from bar_model.errors import BadInput
from pipeline.presets.training import TRAINING
from pipeline.training.learners.order_annealing import OrderAnnealing


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 1.0), (124_999, 1.0), (156_250, 0.5), (187_500, 0.0), (249_999, 0.0)]
)
def test_orders_are_annealed_as_published(step: int, expected: float) -> None:
    training = TRAINING["bar-b"]()
    assert training.order.randomness_at(step, training.steps) == expected
    half = TRAINING["bar-l-512"]()
    assert half.steps == training.steps // 2
    assert half.order.randomness_at(step // 2, half.steps) == expected


def test_bounds_that_are_no_shares_of_the_run_are_refused() -> None:
    with pytest.raises(BadInput, match="shares of the run"):
        OrderAnnealing(random_until=0.8, raster_from=0.5)
