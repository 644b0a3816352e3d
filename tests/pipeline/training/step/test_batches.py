"""Every row once an epoch, the same rows for any number of workers, and what depends on the random bits of a row."""

import dataclasses
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bar_model.bits import CodeShape, pack_bits
from bar_model.errors import BadInput
from pipeline.codes.table import Codes
from pipeline.training.step.batches import Rows, Share, Shuffle, code_batch
from tests.harness.generator_training import learner, tiny_codes, tiny_training


def joined(parts: list[Rows]) -> Rows:
    return Rows(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


@settings(deadline=None, max_examples=60)
@given(
    num_rows=st.integers(1, 50),
    batch=st.integers(1, 40),
    seed=st.integers(0, 2**32 - 1),
    num_workers=st.integers(1, 8),
    micro_batch=st.none() | st.integers(1, 9),
    step=st.integers(0, 30),
)
def test_any_number_of_workers_and_micro_batches_gets_the_same_rows(
    num_rows: int, batch: int, seed: int, num_workers: int, micro_batch: int | None, step: int
) -> None:
    shuffle = Shuffle(num_rows=num_rows, batch=batch, seed=seed)
    num_workers = min(num_workers, batch)
    parts = [
        part
        for worker in range(num_workers)
        for part in Share(shuffle=shuffle, worker=worker, num_workers=num_workers, micro_batch=micro_batch).parts(step)
    ]
    assert all(0 < len(part.indices) <= (micro_batch or batch) for part in parts)
    for column, whole in zip(joined(parts), shuffle.rows(step), strict=True):
        np.testing.assert_array_equal(column, whole)


@settings(deadline=None, max_examples=40)
@given(num_rows=st.integers(1, 50), batch=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_each_row_is_seen_once_an_epoch_and_none_is_left_out(num_rows: int, batch: int, seed: int) -> None:
    num_epochs = 3
    shuffle = Shuffle(num_rows=num_rows, batch=batch, seed=seed)
    walk = joined([shuffle.rows(step) for step in range(-(-num_epochs * num_rows // batch))])
    for epoch in range(num_epochs):
        assert sorted(walk.indices[walk.epochs == epoch]) == list(range(num_rows))


def test_the_order_differs_by_epoch_and_by_seed() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return Shuffle(num_rows=100, batch=100, seed=seed).rows(epoch).indices.tolist()

    assert order(0, 0) != order(0, 1) != order(1, 1)
    assert order(0, 0) == order(0, 0)


def test_the_order_is_the_same_in_every_version() -> None:
    rows = Shuffle(num_rows=10, batch=7, seed=3).rows(1)
    assert rows.indices.tolist() == [4, 3, 0, 9, 7, 8, 3]
    assert rows.epochs.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert [int(word) for word in rows.chance[:2]] == [0xB1A6C3FF2134D44C, 0x46D9331AEECAAC8]


def test_chance_is_a_function_of_seed_epoch_and_row() -> None:
    small, large = (Shuffle(num_rows=20, batch=batch, seed=5) for batch in (4, 20))
    by_row = {(e, i): c for step in range(10) for i, e, c in zip(*small.rows(step), strict=True)}
    assert all(by_row[e, i] == c for step in range(2) for i, e, c in zip(*large.rows(step), strict=True))
    assert len(set(by_row.values())) == 40


def test_views_are_taken_evenly() -> None:
    chance = Shuffle(num_rows=10_000, batch=10_000, seed=0).rows(0).chance
    for num_views in (2, 3):
        counts = np.bincount((chance % np.uint64(num_views)).astype(int))
        assert ((counts - 10_000 / num_views) ** 2 / (10_000 / num_views)).sum() < 15


def test_a_code_batch_holds_the_bits_of_the_view_that_chance_chose() -> None:
    shape = CodeShape(grid=3, bits=5)
    bits = torch.rand(6, 2, shape.num_bits) < 0.5
    codes = Codes(np.arange(6, dtype=np.int32), pack_bits(bits).numpy())
    rows = Shuffle(num_rows=6, batch=9, seed=1).rows(0)
    batch = code_batch(codes, rows, shape, torch.device("cpu"))
    views = (rows.chance % np.uint64(2)).astype(int)
    assert torch.equal(batch.bits.flatten(1), bits[rows.indices, views])
    assert batch.labels.tolist() == batch.rows.tolist() == rows.indices.tolist()
    assert batch.epochs.tolist() == [0] * 6 + [1] * 3


def test_what_is_held_out_is_seen_once_by_all_workers_together() -> None:
    shuffle = Shuffle(num_rows=100, batch=8, seed=0)
    shares = [Share(shuffle=shuffle, worker=worker, num_workers=3, micro_batch=2) for worker in range(3)]
    assert joined([part for share in shares for part in share.all_once(10)]).indices.tolist() == list(range(10))


def test_more_workers_than_rows_are_refused() -> None:
    with pytest.raises(BadInput, match="too small"):
        Share(shuffle=Shuffle(num_rows=9, batch=2, seed=0), num_workers=3)


def test_three_epochs_with_two_resumes_see_what_an_undisturbed_run_sees(tmp_path: Path) -> None:
    """The batches as the model gets them, bits included, by a learner that is built anew after every stop."""
    config = tiny_training(tmp_path, codes=tiny_codes(tmp_path / "codes", num=31), batch=9)
    num_steps = -(-3 * 31 // config.batch)

    def seen(stops: tuple[int, ...], micro_batch: int | None) -> list[torch.Tensor]:
        workers = dataclasses.replace(config.workers, micro_batch=micro_batch)
        parts = []
        for first, last in pairwise((0, *stops, num_steps)):
            built = learner(dataclasses.replace(config, workers=workers))
            for step in range(first, last):
                parts += [built.micro_batch(rows, step)[0] for rows in built.share.parts(step)]
        return [torch.cat(columns) for columns in zip(*parts, strict=True)]

    undisturbed, resumed = seen((), None), seen((4, 9), 4)
    assert all(torch.equal(one, other) for one, other in zip(undisturbed, resumed, strict=True))
    _, _, rows, epochs = resumed
    for epoch in range(3):
        assert sorted(rows[epochs == epoch].tolist()) == list(range(31))
