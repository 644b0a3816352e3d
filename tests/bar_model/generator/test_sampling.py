import dataclasses

import pytest
import torch
from scipy import stats

from bar_model.errors import BadInput
from bar_model.generator.sampling import Sampling, random_order
from bar_model.heads.head import KnownBits
from tests.harness.tiny import make_bar, random_bits, tiny_config

LABELS = torch.tensor([0, 1, 2, 3, 4, 5])  # the last is the dropped class


def test_guidance_grows_linearly_from_one() -> None:
    sampling = Sampling(guidance_scale=5.0, temperature=1.0, allocation=(1,))
    assert [sampling.guidance_at(token, 4) for token in range(4)] == [1.0, 2.0, 3.0, 4.0]
    constant = dataclasses.replace(sampling, guidance_schedule="constant")
    assert {constant.guidance_at(token, 4) for token in range(4)} == {5.0}


@pytest.mark.parametrize("kind", ["masked_bit", "bit", "linear"])
@pytest.mark.parametrize(("order", "schedule"), [("raster", "linear"), ("random", "constant")])
def test_an_image_does_not_depend_on_its_batch(kind: str, order: str, schedule: str) -> None:
    bar = make_bar(tiny_config(kind=kind, patch=1, allocation=(1, 2, 3)))
    sampling = dataclasses.replace(bar.config.sampling, order=order, guidance_schedule=schedule)
    images = torch.tensor([7, 0, 3, 100, 2**40, 5])
    together = bar.generate(LABELS, seed=3, images=images, sampling=sampling)
    assert together.shape == (6, 16, 6)
    for place in (0, 3, 5):
        alone = bar.generate(LABELS[place : place + 1], seed=3, images=images[place : place + 1], sampling=sampling)
        assert torch.equal(alone[0], together[place])
    assert not torch.equal(together, bar.generate(LABELS, seed=4, images=images, sampling=sampling))


@pytest.mark.parametrize("kind", ["masked_bit", "bit", "linear"])
@pytest.mark.parametrize(("patch", "bits"), [(1, 6), (2, 2)])
def test_known_bits_come_back(kind: str, patch: int, bits: int) -> None:
    config = tiny_config(kind=kind, patch=patch, bits=bits, allocation=(2, bits * patch**2 - 2))
    bar = make_bar(config)
    known = KnownBits(random_bits(6, 16, bits, seed=1), random_bits(6, 16, bits, seed=2))
    drawn = bar.generate(LABELS, known=known)
    assert torch.equal(drawn[known.mask], known.bits[known.mask])
    free = bar.generate(LABELS)
    assert torch.equal(free, bar.generate(LABELS, known=KnownBits(known.bits, torch.zeros_like(known.mask))))
    assert not torch.equal(free[~known.mask], drawn[~known.mask])
    everything = bar.generate(LABELS, known=KnownBits(known.bits, torch.ones_like(known.mask)))
    assert torch.equal(everything, known.bits)


def test_guidance_of_one_draws_without_the_dropped_class() -> None:
    bar = make_bar(tiny_config())
    unguided = dataclasses.replace(bar.config.sampling, guidance_scale=1.0)
    before = bar.generate(LABELS[:-1], sampling=unguided)
    with torch.no_grad():
        bar.transformer.class_embedding.weight[-1] += 1
    assert torch.equal(bar.generate(LABELS[:-1], sampling=unguided), before)
    guided = dataclasses.replace(unguided, guidance_scale=3.0, guidance_schedule="constant")
    assert not torch.equal(bar.generate(LABELS[:-1], sampling=guided), before)


def test_guiding_the_dropped_class_changes_nothing() -> None:
    bar, nobody = make_bar(tiny_config()), torch.tensor([5, 5, 5])
    unguided = dataclasses.replace(bar.config.sampling, guidance_scale=1.0)
    guided = dataclasses.replace(bar.config.sampling, guidance_scale=7.0)
    assert torch.equal(bar.generate(nobody, sampling=guided), bar.generate(nobody, sampling=unguided))


def test_random_orders_are_uniform_permutations() -> None:
    orders = random_order(1, torch.arange(12_000), 4)
    assert torch.equal(orders.sort(-1).values, torch.arange(4).expand(12_000, -1))
    codes = (orders * torch.tensor([64, 16, 4, 1])).sum(-1).unique(return_counts=True)[1]
    assert len(codes) == 24
    assert stats.chisquare(codes.numpy()).pvalue > 1e-3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"guidance_scale": 0.5}, "guidance_scale 0.5"),
        ({"temperature": -1.0}, "temperature -1.0"),
        ({"allocation": (2, 0, 4)}, "allocation 2 0 4: must be at least 1"),
        ({"allocation": ()}, "at least one bit"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, object], message: str) -> None:
    settings = {"guidance_scale": 2.0, "temperature": 1.0, "allocation": (6,)} | change
    with pytest.raises(BadInput, match=message):
        Sampling(**settings)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("label", [-1, 6])
def test_a_label_out_of_range_is_refused(label: int) -> None:
    with pytest.raises(BadInput, match=f"label {label}: must be between 0 and 4"):
        make_bar(tiny_config()).generate([0, label])
