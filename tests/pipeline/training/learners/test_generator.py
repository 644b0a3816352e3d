"""The generator's learner: what it draws, its defaults, and what its configuration refuses."""

import dataclasses
from pathlib import Path

import numpy as np
import torch

from bar_model import checkpoint
from bar_model.tokenizer.tokenizer import Tokenizer
from tests.harness.generator_training import NUM_CLASSES, learner, tiny_codes, tiny_training
from tests.harness.tokenizer_training import tiny_tokenizer


def test_a_grid_shows_the_same_noise_without_and_with_guidance(tmp_path: Path) -> None:
    tiny_codes(tmp_path / "codes")
    checkpoint.save(Tokenizer(tiny_tokenizer()), tmp_path / "tokenizer")
    config = tiny_training(tmp_path, tokenizer=str(tmp_path / "tokenizer"))
    sampling = dataclasses.replace(config.model.sampling, guidance_scale=1.0)
    unguided = dataclasses.replace(config, model=dataclasses.replace(config.model, sampling=sampling))
    grids = []
    for each in (config, unguided):
        drawing = learner(each)
        generator = torch.Generator().manual_seed(1)
        for parameter in drawing.result().parameters():
            torch.nn.init.normal_(parameter, std=0.5, generator=generator)
        grid = drawing.draw()
        assert grid is not None
        assert grid.shape == (4 * 10 - 2, NUM_CLASSES * 10 - 2, 3)  # Two pixels lie between pictures.
        grids.append((grid[:18], grid[20:]))
    (without, guided), (plain, also_plain) = grids
    np.testing.assert_array_equal(without, plain)
    np.testing.assert_array_equal(also_plain, plain)
    assert (guided != plain).any()
