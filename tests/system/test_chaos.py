"""Kills, and faults of the store, cost time and nothing else: `make chaos` prints the same as tables."""

from collections import Counter

import pytest

from tests.system import chaos, chaos_training


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(900)
def test_whatever_is_killed_no_row_is_lost_doubled_or_made_twice() -> None:
    outcome = chaos.run(seed=0)
    assert Counter(kind for kind, _ in outcome.kills) == dict.fromkeys(chaos.KILLS.kinds, chaos.KILLS.num)
    assert sum(outcome.storage_faults.values()) > 0
    assert (outcome.rows_found, outcome.rows_doubled) == (outcome.rows_expected, 0)
    assert outcome.shards_that_differ == 0
    assert outcome.units_done_again == 0
    assert outcome.problems == []


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(900)
@pytest.mark.parametrize("training", chaos_training.NUM_WORKERS)
def test_whatever_is_killed_every_step_has_its_loss_to_the_last_bit(training: str) -> None:
    outcome = chaos_training.run(0, training)
    assert Counter(kind for kind, _ in outcome.kills) == dict.fromkeys(
        chaos_training.KILLS.kinds, chaos_training.KILLS.num
    )
    assert (outcome.steps_compared, outcome.steps_differing) == (chaos_training.STEPS, 0)
    assert not outcome.models_differ
