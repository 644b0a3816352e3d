"""Skipped steps and spikes of the loss."""

import dataclasses

import numpy as np
import pytest

from pipeline.training.step.guard import Guard


def test_the_guard_counts_skipped_steps_and_stops_at_the_third_in_a_row() -> None:
    guard = Guard()
    assert not any(guard.count_step(finite) for finite in (False, False, True, False, False))
    assert guard.count_step(False)
    assert guard.skipped == 5


def test_the_guard_tells_a_spike_from_the_noise_of_the_steps_before() -> None:
    guard, noise = Guard(), np.random.default_rng(0).normal(2.0, 0.1, 500)
    assert guard.add_loss(1e9) == 0  # Nothing is known yet.
    guard = Guard()
    assert max(guard.add_loss(float(loss)) for loss in noise) < 6
    assert guard.spikes == 0
    kept = Guard(**dataclasses.asdict(guard))  # As a checkpoint keeps it.
    for each in (guard, kept):
        assert each.add_loss(4.0) == pytest.approx(20, rel=0.2)
        assert each.spikes == 1
