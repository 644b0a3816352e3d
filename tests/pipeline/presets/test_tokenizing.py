"""Presets of tokenizing keep what their docstrings promise."""

from bar_model import presets as models
from pipeline.presets.tokenizing import TOKENIZING


def test_imagenet_in_two_views_is_as_large_as_promised() -> None:
    config = TOKENIZING["imagenet"]()
    assert config.views == ("crop", "flip")
    codes = models.TOKENIZERS["bar-fsq-16"]().codes
    assert round(len(config.views) * codes.num_bytes * 1_281_167 / 1e9, 1) == 1.3


def test_a_mirrored_digit_is_none() -> None:
    assert TOKENIZING["digits"]().views == ("crop",)
