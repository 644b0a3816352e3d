"""How many images are drawn at once: what they take of memory, and how many of them fit."""

import torch

from bar_model.engine.canvas import Canvas, CanvasShape
from bar_model.errors import BadInput
from bar_model.generator.bar import Bar
from bar_model.generator.sampling import Sampling
from bar_model.memory import readable_bytes
from bar_model.tokenizer.tokenizer import TokenizerConfig

MAX_BATCH = 1024
"""Weights are read once a batch: beyond this they are not what drawing waits for."""
_SPARE = 0.9
"""Of free memory that is planned with: allocators round up, and libraries take some for themselves."""


def drawing_bytes(bar: Bar, shape: CanvasShape, *, dtype: torch.dtype) -> int:
    """What drawing such a batch takes beside the weights, no more than this; of `bar` only its sizes count."""
    canvas = Canvas(bar, shape, dtype=dtype, device=torch.device("meta"))
    return canvas.held_bytes + canvas.passing_bytes


def decoding_bytes(config: TokenizerConfig, num_images: int) -> int:
    """What decoding a batch takes beside the weights, no more than this."""
    tokens, size = config.codes.num_tokens + 1, config.image_size
    # A block's widest moment: two residuals, the hidden layer of four widths twice, what casts copy; then the pixels.
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

    `free_bytes` are those left when the weights of both are in place. Raises: BadInput where not one image fits.
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
    return needed_bytes <= _SPARE * free_bytes


def too_little(needed_bytes: int, free_bytes: int) -> BadInput:
    """What is to be said where not a single image fits."""
    return BadInput(
        f"drawing one image takes {readable_bytes(needed_bytes)} beside the weights, but {readable_bytes(free_bytes)} "
        "are free, of which a tenth is spared: end what else runs there, or use a larger device"
    )
