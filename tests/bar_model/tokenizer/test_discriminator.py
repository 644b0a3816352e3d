import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bar_model.errors import BadInput
from bar_model.tokenizer.discriminator import (
    Crop,
    Discriminator,
    DiscriminatorHead,
    VirtualBatchNorm,
    draw_crop,
    hinge_loss,
    imagenet_normalized,
    rounded_to_8_bits,
    to_dino_size,
)
from tests.harness.small_networks import small_dino

pytestmark = pytest.mark.long


def test_hinge_by_hand() -> None:
    real, fake = torch.tensor([[2.0, 0.5]]), torch.tensor([[-3.0, 1.0]])
    assert hinge_loss(real, fake).item() == 0.5 * ((0 + 0.5) / 2 + (0 + 2) / 2)


def test_fakes_are_clamped_and_rounded_as_in_a_file() -> None:
    images = torch.tensor([-2.0, -1.0, 0.0, 0.001, 0.9999, 2.0])
    as_file = ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    torch.testing.assert_close(rounded_to_8_bits(images), as_file.float() / 127.5 - 1)


def test_virtual_batch_norm_is_batch_norm_of_each_group_of_eight() -> None:
    norm = VirtualBatchNorm(6)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(16, 6, 5)
    by_group = [F.batch_norm(g, None, None, norm.weight, norm.bias, training=True, eps=1e-6) for g in x.split(8)]
    torch.testing.assert_close(norm(x), torch.cat(by_group), rtol=1e-5, atol=1e-5)
    with pytest.raises(BadInput, match="multiple of 8"):
        norm(torch.randn(9, 6, 5))


def test_head_by_hand() -> None:
    head = DiscriminatorHead(6).eval()
    convolutions: list[Any] = [head.get_submodule(path) for path in ("0.0", "1.inner.0", "2")]
    weights, biases = [each.weight for each in convolutions], [each.bias for each in convolutions]
    x = torch.randn(8, 6, 12)

    def block(y: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        reach = weight.shape[-1] // 2
        around = torch.cat([y[..., y.shape[-1] - reach :], y, y[..., :reach]], dim=-1)
        convolved = F.conv1d(around, weight, bias)
        mean, variance = convolved.mean((0, 2), keepdim=True), convolved.var((0, 2), keepdim=True, correction=0)
        return F.leaky_relu((convolved - mean) / (variance + 1e-6).sqrt(), 0.2)

    y = block(x, weights[0], biases[0])
    y = (y + block(y, weights[1], biases[1])) / math.sqrt(2)
    torch.testing.assert_close(head(x), F.conv1d(y, weights[2], biases[2]).flatten(1))
    for weight in weights[:2]:
        assert torch.linalg.matrix_norm(weight.flatten(1), ord=2).item() == pytest.approx(1, abs=0.1)


def test_discriminator_adds_the_class_slot_to_every_patch_at_every_depth() -> None:
    discriminator = Discriminator(small_dino).eval()
    images = torch.rand(8, 3, 224, 224) * 2 - 1
    states = small_dino(imagenet_normalized(images))
    pairs = zip(discriminator.heads.children(), states, strict=True)
    by_hand = [head((state[:, 1:] + state[:, :1]).transpose(1, 2)) for head, state in pairs]
    torch.testing.assert_close(discriminator(to_dino_size(images, None), None), torch.cat(by_hand, dim=1))


def test_dino_sees_a_window_in_half_of_the_draws_and_the_whole_image_in_the_others() -> None:
    crops = [draw_crop(0, step, 1) for step in range(1000)]
    windows = [crop for crop in crops if crop is not None]
    assert 440 < len(windows) < 560
    assert 0.45 < sum(window.top for window in windows) / len(windows) < 0.55
    assert crops[:9] == [draw_crop(0, step, 1) for step in range(9)]
    assert crops[:9] != [draw_crop(0, step, 2) for step in range(9)]

    images = torch.rand(1, 3, 256, 256)
    assert torch.equal(to_dino_size(images, Crop(0.999, 0.0)), images[..., 32:, :224])
    small = torch.rand(1, 3, 112, 112)
    for crop in (None, Crop(0.5, 0.5)):
        resized = F.interpolate(small, size=(224, 224), mode="bicubic")
        torch.testing.assert_close(to_dino_size(small, crop), resized)
    large = torch.rand(1, 3, 448, 448)
    torch.testing.assert_close(to_dino_size(large, None), F.avg_pool2d(large, 2))
