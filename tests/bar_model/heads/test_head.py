"""What holds for every head."""

import pytest
import torch

from bar_model.heads.head import KnownBits
from tests.harness.heads import WIDTH, draw_tokens, head_of
from tests.harness.tiny import random_bits


@pytest.mark.parametrize("kind", ["masked_bit", "bit", "linear"])
def test_known_bits_stay_and_the_others_are_drawn_given_them(kind: str) -> None:
    head = head_of(kind, 6)
    bits, mask = random_bits(200, 6, seed=1), random_bits(200, 6, seed=2)
    drawn = draw_tokens(head, 200, allocation=(2, 4), known=KnownBits(bits, mask))
    assert torch.equal(drawn[mask], bits[mask])
    free = draw_tokens(head, 200, allocation=(2, 4))
    nothing = draw_tokens(head, 200, allocation=(2, 4), known=KnownBits(bits, torch.zeros_like(mask)))
    assert torch.equal(free, nothing)


@pytest.mark.parametrize("bits", [1, 2, 7, 16, 33, 255, 256])
@pytest.mark.parametrize("kind", ["masked_bit", "bit"])
def test_any_number_of_bits(kind: str, bits: int) -> None:
    head = head_of(kind, bits)
    targets = random_bits(10, bits)
    masked = head.training_mask(torch.randn(10), torch.rand(10, bits))
    loss = head.loss(torch.randn(10, WIDTH), targets, masked)
    loss.total.backward()
    assert loss.total.isfinite()
    allocation = (bits,) if bits == 1 else (1, bits - 1)
    assert draw_tokens(head, 3, allocation=allocation).shape == (3, bits)
