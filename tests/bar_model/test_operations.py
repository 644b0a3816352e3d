"""The counts by which benchmarks judge are those of docs/method.md, section 8."""

from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bar_model.generator.bar import Bar
from bar_model.operations import decoding_operations, reconstruction_operations, training_operations
from bar_model.presets import bar_b, bar_fsq_16, bar_l, digits, digits_tokenizer
from bar_model.tokenizer.decoder import SemanticConfig
from bar_model.tokenizer.tokenizer import Tokenizer
from benchmarks.counting import Ceilings, cost
from tests.harness.tiny import random_bits


def test_the_published_sizes() -> None:
    chip = Ceilings(operations_a_second=790e12, bytes_a_second=4.3e12)
    for config, gigabytes, milliseconds, images_a_second in ((bar_b(), 6.1, 1.34, 362), (bar_l(), 13.5, 2.24, 185)):
        counted = cost(config, bar_fsq_16(), itemsize=2)
        assert counted.cache / 1e9 == pytest.approx(gigabytes, abs=0.05)
        # The prefix's slots and the head's embeddings, which the formula counts, are not in these milliseconds.
        assert 1 <= 1000 * counted.operations / 790e12 / milliseconds < 1.08
        assert 0.97 < 1 / counted.seconds(chip, batch=10**6) / images_a_second < 1.01


def test_what_a_digit_costs_is_what_torch_counts() -> None:
    bar, tokenizer = Bar(digits()).eval(), Tokenizer(digits_tokenizer()).eval()
    # Attention made of products that are counted.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as drawing:
        bar.generate([3])
    counted = cost(digits(), None, itemsize=4)
    # What it counts besides: a slot's attention to itself, and that of the prefix to what is masked.
    assert counted.operations == pytest.approx(drawing.get_total_flops(), rel=0.02)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as decoding:
        tokenizer.decode(random_bits(1, 16, 16))
    assert decoding_operations(digits_tokenizer()) == pytest.approx(decoding.get_total_flops(), rel=0.02)


def test_what_a_row_costs_in_training_is_what_torch_counts() -> None:
    bar, rows = Bar(digits()), torch.arange(2)
    chance = bar.training_draw(rows, rows, seed=0, order_randomness=1.0, class_dropout=0.1)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as training:
        bar.loss(random_bits(2, 16, 16), rows, chance).total.backward()
    # What it counts besides is as above; what it does not: embeddings and features have no gradient to their input.
    assert 2 * training_operations(bar) == pytest.approx(training.get_total_flops(), rel=0.03)


def test_what_an_image_costs_in_training_is_what_torch_counts() -> None:
    config = replace(
        digits_tokenizer(),
        decoder=replace(digits_tokenizer().decoder, semantic=SemanticConfig(after_block=0, hidden_width=48)),
    )
    tokenizer, images = Tokenizer(config), torch.rand(2, 3, config.image_size, config.image_size)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as forward:
        output = tokenizer(images)
    assert 2 * reconstruction_operations(config) == pytest.approx(forward.get_total_flops(), rel=0.02)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as backward:
        assert output.semantics is not None
        (output.reconstruction.sum() + output.semantics.sum()).backward()
    # Pixels have no gradient.
    assert backward.get_total_flops() == pytest.approx(2 * forward.get_total_flops(), rel=0.03)
