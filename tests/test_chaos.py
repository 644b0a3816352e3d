"""Kills and faults of the store cost time and nothing else: `make chaos` prints the same as a table."""

from collections import Counter

import pytest

from tests import chaos


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(900)
def test_whatever_is_killed_no_row_is_lost_doubled_or_made_twice() -> None:
    outcome = chaos.run(seed=0)
    assert Counter(kind for kind, _ in outcome.kills) == dict.fromkeys(chaos.KINDS, chaos.KILLS)
    assert sum(outcome.storage_faults.values()) > 0
    assert (outcome.rows_found, outcome.rows_doubled) == (outcome.rows_expected, 0)
    assert outcome.shards_that_differ == 0
    assert outcome.units_done_again == 0
    assert outcome.problems == []
