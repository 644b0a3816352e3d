"""The fast decoder gives the images of the tokenizer's own, up to rounding."""

import pytest
import torch

from bar_model.engine.fast_decoder import FastDecoder
from bar_model.errors import BadInput
from bar_model.presets import digits_tokenizer
from bar_model.tokenizer.tokenizer import Tokenizer
from tests.harness.tiny import random_bits


def test_it_decodes_as_the_tokenizer_does_and_keeps_a_copy() -> None:
    tokenizer = Tokenizer(digits_tokenizer()).eval()
    codes = tokenizer.config.codes
    bits = random_bits(3, codes.num_tokens, codes.bits)
    decoder = FastDecoder(tokenizer, dtype=torch.float32)
    with torch.no_grad():
        expected = tokenizer.decode(bits)
        assert torch.allclose(decoder.decode(bits), expected, atol=1e-5)
        for parameter in tokenizer.decoder.parameters():
            parameter.zero_()
        assert torch.allclose(decoder.decode(bits), expected, atol=1e-5)


def test_bits_of_another_shape_are_refused() -> None:
    tokenizer = Tokenizer(digits_tokenizer()).eval()
    with pytest.raises(BadInput):
        FastDecoder(tokenizer, dtype=torch.float32).decode(random_bits(1, 3, 2))
