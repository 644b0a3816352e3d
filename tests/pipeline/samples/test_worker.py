"""A worker that draws: an image is a function of seed and number alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bar_model import checkpoint
from bar_model.bits import unpack_bits
from bar_model.errors import BadInput
from pipeline.images.codec import from_model
from pipeline.samples.sample import SampleConfig
from pipeline.samples.worker import load_models
from tests.harness.drawn import described, drawn

pytestmark = pytest.mark.long

pytest_plugins = ["tests.harness.fixtures_sampling"]


def test_labels_are_cyclic_and_codes_belong_to_the_pictures(config: SampleConfig) -> None:
    samples = drawn(config)
    np.testing.assert_array_equal(samples.indices, np.arange(10))
    np.testing.assert_array_equal(samples.labels, [0, 1, 2, 3, 4, 0, 1, 2, 3, 4])
    np.testing.assert_array_equal(drawn(replace(config, labels=(4, 2), num_images=5)).labels, [4, 2, 4, 2, 4])
    bits = unpack_bits(torch.from_numpy(samples.codes), 96).unflatten(-1, (16, 6))
    tokenizer = checkpoint.load_tokenizer(config.tokenizer)
    np.testing.assert_array_equal(from_model(tokenizer.decode(bits[4:8])), samples.images[4:8])
    assert len(np.unique(samples.codes, axis=0)) == 10


def test_an_image_does_not_depend_on_the_range_it_is_drawn_in(config: SampleConfig) -> None:
    whole = drawn(replace(config, num_images=21))
    for first, num in [(0, 1), (3, 2), (5, 16), (16, 5), (20, 1)]:
        part = drawn(replace(config, first_index=first, num_images=num))
        for one, other in zip(part, whole, strict=True):
            np.testing.assert_array_equal(one, other[first : first + num])


def test_models_that_change_under_way_are_noticed(config: SampleConfig) -> None:
    drawing, labels = described(config)
    with pytest.raises(BadInput, match="has changed since the run began"):
        load_models(config.generator, config.tokenizer, replace(drawing, generator="0" * 16), labels)
