import dataclasses

import pytest
import torch

from bar_model.bits import CodeShape
from bar_model.errors import BadInput
from bar_model.presets import TOKENIZERS
from bar_model.tokenizer.tokenizer import Tokenizer
from tests.harness.tiny import TINY_ENCODER, TINY_TOKENIZER


def test_encoding_and_decoding_are_the_halves_of_the_forward_pass() -> None:
    tokenizer = Tokenizer(TINY_TOKENIZER)
    images = torch.rand(3, 3, 16, 16) * 2 - 1
    output = tokenizer(images)
    bits = tokenizer.encode(images)
    assert torch.equal(bits, output.bits)
    assert bits.shape == (3, 16, 5)
    assert not bits.all()
    assert bits.any()
    torch.testing.assert_close(tokenizer.decode(bits), output.reconstruction)
    assert output.semantics.shape == (3, 16, TINY_ENCODER.width)


@pytest.mark.parametrize(("bits", "image_size", "patch"), [(1, 8, 4), (7, 12, 4), (256, 16, 8)])
def test_any_bits_and_any_grid(bits: int, image_size: int, patch: int) -> None:
    config = dataclasses.replace(TINY_TOKENIZER, bits=bits, image_size=image_size, patch=patch)
    tokenizer = Tokenizer(config)
    grid = image_size // patch
    assert config.codes == CodeShape(grid=grid, bits=bits)
    images = torch.rand(2, 3, image_size, image_size)
    codes = tokenizer.encode(images)
    assert codes.shape == (2, grid**2, bits)
    assert tokenizer.decode(codes).shape == images.shape


def test_five_seeded_steps_of_the_digits_tokenizer() -> None:
    """A change of these numbers is a change of the model or its gradients."""
    tokenizer = Tokenizer(TOKENIZERS["digits"]())
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():  # The tower's own initialisation is another in every version of transformers.
        for parameter in tokenizer.parameters():
            parameter.normal_(0, 0.1, generator=generator)
    optimizer = torch.optim.AdamW(tokenizer.parameters(), lr=2e-3, weight_decay=0)
    pixels = torch.linspace(-1, 1, 32)
    images = torch.stack([(pixels[:, None] * pixels * turn).cos() for turn in range(8)])[:, None].expand(-1, 3, -1, -1)
    losses = []
    for _ in range(5):
        loss = (tokenizer(images).reconstruction - images).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses == pytest.approx([0.724822, 0.705848, 0.691570, 0.677177, 0.661023], rel=1e-4)


def test_gradients_reach_every_parameter_through_the_rounding() -> None:
    tokenizer = Tokenizer(TINY_TOKENIZER)
    output = tokenizer(torch.rand(2, 3, 16, 16))
    (output.reconstruction.square().mean() + output.semantics.square().mean()).backward()
    assert [name for name, parameter in tokenizer.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("change", [{"image_size": 18}, {"bits": 0}, {"bits": 257}])
def test_impossible_sizes_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(BadInput):
        dataclasses.replace(TINY_TOKENIZER, **change)


def test_other_images_and_bits_are_refused() -> None:
    tokenizer = Tokenizer(TINY_TOKENIZER)
    with pytest.raises(BadInput, match=r"\(batch, 3, 16, 16\)"):
        tokenizer.encode(torch.zeros(1, 3, 32, 32))
    with pytest.raises(BadInput, match=r"\(batch, 16, 5\)"):
        tokenizer.decode(torch.zeros(1, 16, 4, dtype=torch.bool))
