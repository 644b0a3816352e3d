"""How many images fit: counted, chosen where workers run, and checked there."""

import re
from dataclasses import replace

import pytest
import torch

from bar_model.errors import BadInput
from bar_model.memory import available_bytes
from bar_model.presets import bar_b
from pipeline.batch_size import bytes_an_image, check_batch_size, choose_batch_size
from pipeline.units import Workers

pytest_plugins = ["tests.fixtures_s3", "tests.fixtures_ray"]


def test_an_image_takes_keys_and_values_of_every_slot() -> None:
    generator = bar_b()
    guided = bytes_an_image(generator, generator.sampling, "bfloat16")
    assert guided == 2 * 24 * 2 * (33 + 255) * 768 * 2
    assert bytes_an_image(generator, generator.sampling, "float32") == 2 * guided
    assert bytes_an_image(generator, replace(generator.sampling, guidance_scale=1.0), "bfloat16") == guided // 2


def test_a_batch_that_can_not_fit_is_refused() -> None:
    check_batch_size(1, 125, "cpu")
    with pytest.raises(BadInput, match=r"batch_size: 125 images need \d+ TiB for keys and values, but cpu has .* free"):
        check_batch_size(2**40, 125, "cpu")


@pytest.mark.ray
def test_a_batch_is_the_greatest_part_of_a_unit_that_fits(ray_here: str) -> None:
    def choose(bytes_each: int) -> int:
        return choose_batch_size(bytes_each, unit_size=500, device="cpu", workers=Workers(num=2))

    assert choose(1) == 500
    half = available_bytes(torch.device("cpu")) // 2
    assert choose(half // 2 // 180) == 125  # Half of the memory is divided by two: about 180 fit.
    with pytest.raises(BadInput, match=re.escape("an image needs 1 PiB for keys and values")):
        choose(2**50)
