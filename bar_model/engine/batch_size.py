"""How many images are drawn at once: how much memory they take, and how many of them fit."""

import torch

from bar_model.engine.canvas import Canvas, CanvasShape
from bar_model.errors import BadInput
from bar_model.generator.bar import Bar
from bar_model.generator.sampling import Sampling
from bar_model.memory import readable_bytes
from bar_model.tokenizer.tokenizer import TokenizerConfig

MAX_BATCH = 1024
"""Weights are read once for the whole batch. Beyond this size their reading is no longer what takes the time."""
_SPARE = 0.9
"""The share of free memory that is used: allocators round up, and libraries need some memory of their own."""


def drawing_bytes(bar: Bar, shape: CanvasShape, *, dtype: torch.dtype) -> int:
    """An upper bound of the bytes that drawing such a batch takes beside the weights; `bar` may be on "meta"."""
    canvas = Canvas(bar, shape, dtype=dtype, device=torch.device("meta"))
    return canvas.held_bytes + canvas.passing_bytes


def decoding_bytes(config: TokenizerConfig, num_images: int) -> int:
    """An upper bound of the bytes that decoding a batch takes beside the weights."""
    tokens, size = config.codes.num_tokens + 1, config.image_size
    # A block at its widest: two residuals, the hidden layer of four widths twice, and copies by casts. Or the pixels.
    return 4 * num_images * max(12 * tokens * config.decoder.width, 12 * 3 * size**2)


def largest_batch(
    bar: Bar,
    free_bytes: int,
    *,
    sampling: Sampling | None = None,
    dtype: torch.dtype,
    tokenizer: TokenizerConfig | None = None,
) -> int:
    """The most images, up to `MAX_BATCH`, that can be drawn at once, and decoded if a tokenizer is given.

    `free_bytes` is the memory that is free after the weights of both models are loaded.

    Raises:
        BadInput: not a single image fits.
    """

    def needed(num_images: int) -> int:
        shape = CanvasShape(num_images=num_images, sampling=sampling or bar.config.sampling, inpaints=False)
        drawing = drawing_bytes(bar, shape, dtype=dtype)
        return drawing if tokenizer is None else drawing + decoding_bytes(tokenizer, num_images)

    if not fits(needed(1), free_bytes):
        raise too_little(needed(1), free_bytes)
    most, too_many = 1, MAX_BATCH + 1
    while too_many - most > 1:
        middle = (most + too_many) // 2
        most, too_many = (middle, too_many) if fits(needed(middle), free_bytes) else (most, middle)
    return most


def fits(needed_bytes: int, free_bytes: int) -> bool:
    """Whether work of this size fits into the share of free memory that is used."""
    return needed_bytes <= _SPARE * free_bytes


def too_little(needed_bytes: int, free_bytes: int) -> BadInput:
    """The error for a device on which not a single image fits."""
    return BadInput(
        f"drawing one image takes {readable_bytes(needed_bytes)} beside the weights, but {readable_bytes(free_bytes)} "
        "are free, of which a tenth is kept in reserve: end other programs there, or use a larger device"
    )
