import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bar_model.errors import BadInput
from bar_model.tokenizer.discriminator import (
    imagenet_normalized,
)
from bar_model.tokenizer.loss import (
    FrozenNetworks,
    TokenizerLoss,
    TokenizerLossConfig,
    convnext_loss,
    gram_loss,
    semantic_loss,
)
from bar_model.tokenizer.tokenizer import TokenizerOutput
from tests.harness.small_networks import small_dino, small_vgg

pytestmark = pytest.mark.long

OFF = {"l1": 0.0, "l2": 0.0, "lpips": 0.0, "convnext": 0.0, "semantic": 0.0, "gram": 0.0, "adversarial": 0.0}


def only(**weights: Any) -> TokenizerLossConfig:
    return TokenizerLossConfig(**{**OFF, **weights})


def output_of(reconstruction: Tensor, semantics: Tensor | None = None) -> TokenizerOutput:
    return TokenizerOutput(reconstruction, torch.zeros(len(reconstruction), 1, 1, dtype=torch.bool), semantics)


def test_l1_and_l2_by_hand_need_no_network() -> None:
    images = torch.zeros(1, 3, 1, 2)
    reconstruction = torch.tensor([1.0, -3.0]).expand(1, 3, 1, 2)
    total, terms = TokenizerLoss(only(l1=0.1, l2=1.0), FrozenNetworks()).generator(
        output_of(reconstruction), images, step=0, num_steps=1
    )
    assert {name: term.item() for name, term in terms.items()} == {"l1": 2.0, "l2": 5.0}
    assert total.item() == pytest.approx(0.1 * 2 + 5)


def test_published_weights() -> None:
    config = TokenizerLossConfig()
    assert (config.l1, config.l2, config.semantic, config.gram, config.adversarial) == (0.1, 1.0, 0.7, 10.0, 0.05)
    lpips, convnext = 0.37, 2.5
    published = 1.1 * (1.0 * lpips + 0.1 * convnext) / 1.1
    assert config.lpips * lpips + config.convnext * convnext == pytest.approx(published)
    assert not config.is_adversarial(99_999, 200_000)
    assert config.is_adversarial(100_000, 200_000)


def test_lpips_is_the_mean_of_the_distances() -> None:
    distances = torch.tensor([0.25, 0.75]).reshape(2, 1, 1, 1)
    networks = FrozenNetworks(lpips=lambda a, b: distances + (a - b).mean())
    images = torch.rand(2, 3, 8, 8)
    total, _ = TokenizerLoss(only(lpips=2.0), networks).generator(output_of(images), images, step=0, num_steps=1)
    assert total.item() == pytest.approx(2.0 * 0.5)


def test_convnext_compares_the_logits_of_normalised_images_of_224_px() -> None:
    sizes = []

    def network(x: Tensor) -> Tensor:
        sizes.append(x.shape)
        return x.mean((2, 3))

    black, white = -torch.ones(1, 3, 32, 32), torch.ones(1, 3, 32, 32)
    by_hand = sum((1 / deviation) ** 2 for deviation in (0.229, 0.224, 0.225)) / 3
    assert convnext_loss(network, white, black).item() == pytest.approx(by_hand, rel=1e-5)
    assert sizes == [(1, 3, 224, 224)] * 2


def test_gram_is_the_published_walk_through_vgg() -> None:
    """The published code keeps each layer's output in a list while in-place ReLUs overwrite the convolutions'."""
    vgg = small_vgg()
    images, reconstruction = torch.rand(2, 2, 3, 32, 32) * 2 - 1

    def walk(x: Tensor) -> list[Tensor]:
        x = imagenet_normalized(F.interpolate(x, size=(224, 224), mode="bilinear", align_corners=False))
        outputs = []
        for layer in vgg:
            x = layer(x)
            outputs.append(x)
        return outputs

    by_hand = torch.zeros(())
    for ours, theirs in zip(walk(reconstruction), walk(images), strict=True):
        _, channels, height, width = ours.shape
        grams = [torch.einsum("bchw,bdhw->bcd", x, x) / (channels * height * width) for x in (ours, theirs)]
        by_hand = by_hand + (grams[0] - grams[1]).square().mean()
    torch.testing.assert_close(gram_loss(vgg, reconstruction, images), by_hand)


def test_semantic_is_the_mean_squared_error_to_the_frozen_features() -> None:
    images = torch.rand(2, 3, 8, 8)
    predicted = torch.zeros(2, 4, 3)
    loss = semantic_loss(lambda x: x.flatten(2).mean(2)[:, None].expand(2, 4, 3) * 0 + 3.0, predicted, images)
    assert loss.item() == 9.0
    with pytest.raises(BadInput, match=r"decoder\.semantic"):
        semantic_loss(lambda x: predicted, None, images)


def test_adversarial_loss_begins_at_its_start_and_leaves_the_discriminator_alone() -> None:
    loss = TokenizerLoss(only(l2=1.0, adversarial=0.05), FrozenNetworks(dino=small_dino))
    images = torch.rand(8, 3, 32, 32)
    reconstruction = torch.rand(8, 3, 32, 32, requires_grad=True)
    before = loss.generator(output_of(reconstruction), images, step=49, num_steps=100)
    after = loss.generator(output_of(reconstruction), images, step=50, num_steps=100)
    assert list(before.terms) == ["l2"]
    assert after.total.item() == pytest.approx(after.terms["l2"].item() + 0.05 * after.terms["adversarial"].item())
    after.total.backward()
    assert reconstruction.grad is not None
    assert all(p.grad is None and p.requires_grad for p in loss.discriminator_parameters)


def test_discriminator_learns_to_tell_images_from_reconstructions() -> None:
    loss = TokenizerLoss(only(adversarial=0.05), FrozenNetworks(dino=small_dino))
    optimizer = torch.optim.AdamW(loss.discriminator_parameters, lr=1e-3, weight_decay=0)
    real = torch.linspace(-1, 1, 32).expand(8, 3, 32, 32) + 0.1 * torch.randn(8, 3, 32, 32)
    fake = real.flip(2).transpose(2, 3).requires_grad_()
    totals = []
    for step in range(10):
        total, terms = loss.discriminator(real, fake, step=step)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
        assert set(terms) == {"discriminator", "logits_real", "logits_fake"}
    assert totals[-1] < totals[0]
    assert fake.grad is None


def test_tokenizer_and_discriminator_take_turns_from_the_start_on() -> None:
    config = TokenizerLossConfig(adversarial_start=0.5)
    turns = [config.updates_discriminator(step, 9) for step in range(9)]
    assert turns == [False] * 5 + [False, True, False, True]
    assert not any(only(l2=1.0).updates_discriminator(step, 9) for step in range(9))


def test_frozen_networks_are_neither_saved_nor_trained() -> None:
    dino = nn.Linear(2, 2)
    loss = TokenizerLoss(only(adversarial=1.0), FrozenNetworks(dino=lambda x: [dino(x)]))
    parameters = {id(parameter) for parameter in loss.parameters()}
    assert not parameters & {id(parameter) for parameter in dino.parameters()}
    copied = copy.deepcopy(loss.state_dict())
    assert loss.load_state_dict(copied).missing_keys == []


@pytest.mark.parametrize("term", ["lpips", "convnext", "semantic", "gram", "adversarial"])
def test_a_term_without_its_network_is_refused(term: str) -> None:
    with pytest.raises(BadInput, match=term):
        TokenizerLoss(only(**{term: 1.0}), FrozenNetworks())


def test_no_discriminator_without_an_adversarial_loss() -> None:
    loss = TokenizerLoss(only(l2=1.0), FrozenNetworks())
    assert loss.discriminator_parameters == []
    with pytest.raises(BadInput, match="weight 0"):
        loss.discriminator(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8), step=0)


@pytest.mark.parametrize("change", [{"gram": -1.0}, {"adversarial_start": 1.5}])
def test_impossible_weights_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(BadInput, match=next(iter(change))):
        TokenizerLossConfig(**change)
