"""Presets of the generator's training keep what their docstrings promise."""

import pytest

from bar_model import presets as models
from pipeline.presets.training import TRAINING

IMAGES = 1_281_167
"""Of ImageNet's training set."""


@pytest.mark.parametrize(
    ("name", "epochs"),
    [("bar-b", 400), ("bar-b-patch2", 400), ("bar-b-patch4", 400), ("bar-l", 400), ("bar-l-512", 200), ("bar-s", 100)],
)
def test_the_epochs_are_the_promised_ones(name: str, epochs: int) -> None:
    config = TRAINING[name]()
    assert config.steps * config.batch / IMAGES == pytest.approx(epochs, rel=0.01)


@pytest.mark.parametrize("name", TRAINING)
def test_the_model_is_the_preset_of_that_name(name: str) -> None:
    config = TRAINING[name]()
    assert config.model == models.GENERATORS[name]()
    assert config.workers.gpu == (name != "digits")


@pytest.mark.parametrize("name", [name for name in TRAINING if name != "digits"])
def test_every_worker_computes_whole_micro_batches(name: str) -> None:
    config = TRAINING[name]()
    assert isinstance(config.workers.micro_batch, int)
    assert config.batch % (config.workers.num * config.workers.micro_batch) == 0
