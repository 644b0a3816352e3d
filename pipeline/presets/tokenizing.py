"""Tokenizing, by data set."""

from collections.abc import Callable

import tyro

from pipeline.codes.tokenize import TokenizeConfig


def tokenize_imagenet() -> TokenizeConfig:
    """ImageNet's layout in two views, the picture and its mirror image: 1.3 GB of codes with bar-fsq-16."""
    return TokenizeConfig(
        source=tyro.MISSING, tokenizer=tyro.MISSING, out=tyro.MISSING, views=("crop", "flip"), batch_size=64
    )


def tokenize_digits() -> TokenizeConfig:
    """The handwritten digits, in one view: a mirrored 3 is no 3."""
    return TokenizeConfig(
        source=tyro.MISSING,
        tokenizer=tyro.MISSING,
        out=tyro.MISSING,
        views=("crop",),
        max_pixels=2**24,  # So that reading reserves 1 GB, and a machine with 4 GB is enough.
        unit_size=128,
        batch_size=64,
    )


TOKENIZING: dict[str, Callable[[], TokenizeConfig]] = {"imagenet": tokenize_imagenet, "digits": tokenize_digits}
