import dataclasses

import pytest
import torch
from scipy import stats

from bar_model.errors import BadInput
from tests.harness.tiny import make_bar, random_bits, tiny_config


def test_what_chance_gives_a_row_is_a_function_of_seed_epoch_and_row() -> None:
    bar = make_bar(tiny_config())
    rows, epochs = torch.tensor([8, 3, 3, 11]), torch.tensor([0, 0, 1, 2])

    def chance(places: slice, seed: int = 5):
        return bar.training_draw(rows[places], epochs[places], seed=seed, order_randomness=0.5, class_dropout=0.5)

    together, alone = chance(slice(None)), chance(slice(1, 3))
    assert torch.equal(together.order[1:3], alone.order)
    assert torch.equal(together.dropped[1:3], alone.dropped)
    assert torch.equal(together.masked.mask[1:3], alone.masked.mask)
    assert torch.equal(together.masked.ratio[1:3], alone.masked.ratio)
    assert not torch.equal(together.masked.ratio[1], together.masked.ratio[2])
    assert not torch.equal(together.masked.ratio, chance(slice(None), seed=6).masked.ratio)


def test_shares_of_random_orders_and_dropped_classes() -> None:
    bar, rows = make_bar(tiny_config(grid=2)), torch.arange(20_000)
    chance = bar.training_draw(rows, rows * 0, seed=1, order_randomness=0.3, class_dropout=0.1)
    raster = (chance.order == torch.arange(4)).all(-1)
    # A random order of four tokens is the raster one once in 24 times.
    assert stats.binomtest(int((~raster).sum()), 20_000, 0.3 * 23 / 24).pvalue > 1e-3
    assert stats.binomtest(int(chance.dropped.sum()), 20_000, 0.1).pvalue > 1e-3
    assert abs((chance.dropped.float() * ~raster).mean().item() - 0.1 * 0.3 * 23 / 24) < 0.006
    for randomness, expected in ((0.0, True), (1.0, False)):
        order = bar.training_draw(rows, rows * 0, seed=1, order_randomness=randomness, class_dropout=0.0).order
        assert (order == torch.arange(4)).all(-1).float().mean().item() == pytest.approx(
            1.0 if expected else 1 / 24, abs=0.01
        )


def test_the_loss_is_a_sum_over_rows() -> None:
    """Totals and weights of micro-batches add up to those of the whole batch."""
    bar, bits, labels = make_bar(tiny_config()), random_bits(4, 16, 6), torch.tensor([0, 1, 2, 3])
    rows = torch.arange(4)

    def loss(places: slice):
        chance = bar.training_draw(rows[places], rows[places] * 0, seed=1, order_randomness=0.5, class_dropout=0.3)
        return bar.loss(bits[places], labels[places], chance)

    whole, parts = loss(slice(0, 4)), [loss(slice(0, 1)), loss(slice(1, 4))]
    for name in ("total", "weight", "correct", "counted"):
        torch.testing.assert_close(sum(getattr(part, name) for part in parts), getattr(whole, name))


def test_a_dropped_row_trains_the_dropped_class() -> None:
    bar, bits = make_bar(tiny_config()), random_bits(2, 16, 6)
    rows = torch.arange(2)
    chance = bar.training_draw(rows, rows * 0, seed=1, order_randomness=0.0, class_dropout=0.0)
    dropped = chance._replace(dropped=torch.ones(2, dtype=torch.bool))
    as_label = bar.loss(bits, torch.full((2,), bar.dropped_class), chance)
    assert torch.equal(bar.loss(bits, torch.tensor([0, 1]), dropped).total, as_label.total)
    assert not torch.equal(bar.loss(bits, torch.tensor([0, 1]), chance).total, as_label.total)


@pytest.mark.parametrize(("change", "message"), [({"patch": 3}, "patch 3"), ({"num_classes": 0}, "num_classes 0")])
def test_impossible_configurations_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        dataclasses.replace(tiny_config(), **change)
