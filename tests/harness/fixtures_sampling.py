"""A tiny generator with its tokenizer, and how a few images are to be drawn by them."""

from pathlib import Path

import pytest
import torch

from bar_model import checkpoint
from pipeline.samples.sample import SampleConfig
from tests.harness.drawn import make_tokenizer
from tests.harness.tiny import make_bar, tiny_config


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Folders of a generator and of the tokenizer that fits it."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    checkpoint.save(make_bar(tiny_config(), scale=0.2), folder / "generator")
    checkpoint.save(make_tokenizer(), folder / "tokenizer")
    return str(folder / "generator"), str(folder / "tokenizer")


@pytest.fixture
def config(models: tuple[str, str], tmp_path: Path) -> SampleConfig:
    out = str(tmp_path / "samples")
    return SampleConfig(generator=models[0], tokenizer=models[1], out=out, num_images=10, batch_size=4, unit_size=8)
