"""Presets of the tokenizer's training keep what their docstrings promise."""

import pytest

from bar_model import presets as models
from bar_model.tokenizer.discriminator import VIRTUAL_BATCH
from pipeline.presets.tokenizer_training import TOKENIZER_TRAINING


@pytest.mark.parametrize("name", TOKENIZER_TRAINING)
def test_the_model_is_the_preset_of_that_name(name: str) -> None:
    assert TOKENIZER_TRAINING[name]().model == models.TOKENIZERS[name]()


@pytest.mark.parametrize("name", [name for name in TOKENIZER_TRAINING if name != "digits"])
def test_a_published_recipe_has_the_discriminators_groups_and_a_docstring_of_its_own(name: str) -> None:
    config = TOKENIZER_TRAINING[name]()
    assert config.loss.adversarial > 0
    assert isinstance(config.workers.micro_batch, int)
    assert config.workers.micro_batch % VIRTUAL_BATCH == 0
    assert str(models.TOKENIZERS[name].__doc__).splitlines()[0] in str(TOKENIZER_TRAINING[name].__doc__)


def test_the_digits_need_no_frozen_network() -> None:
    config = TOKENIZER_TRAINING["digits"]()
    loss = config.loss
    assert (loss.lpips, loss.convnext, loss.semantic, loss.gram, loss.adversarial) == (0, 0, 0, 0, 0)
    assert not config.rfid
    assert not config.model.encoder.frozen_embeddings
