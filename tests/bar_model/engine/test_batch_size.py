import dataclasses

import pytest
import torch

from bar_model.engine.batch_size import MAX_BATCH, decoding_bytes, drawing_bytes, largest_batch
from bar_model.engine.canvas import Canvas, CanvasShape
from bar_model.engine.prefixes import Prefixes
from bar_model.errors import BadInput
from bar_model.generator.bar import Bar
from bar_model.generator.sampling import raster_order
from bar_model.heads.head import KnownBits
from bar_model.memory import peak_bytes
from bar_model.noise import CounterNoise
from bar_model.presets import digits, digits_tokenizer
from bar_model.tokenizer.tokenizer import Tokenizer
from tests.harness.tiny import make_bar, random_bits, tiny_config

pytestmark = pytest.mark.long

FLOAT32 = torch.float32


@pytest.mark.parametrize("kind", ["masked_bit", "bit", "linear"])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_a_drawing_takes_what_was_said(kind: str, guidance: float) -> None:
    bar = make_bar(tiny_config(kind=kind, allocation=(1, 2, 3)))
    sampling = dataclasses.replace(bar.config.sampling, guidance_scale=guidance)
    shape = CanvasShape(num_images=30, sampling=sampling, inpaints=True)
    made = []
    held = peak_bytes(lambda: made.append(Canvas(bar, shape, dtype=FLOAT32)))
    canvas = made[0]
    assert canvas.held_bytes == held
    assert drawing_bytes(bar, shape, dtype=FLOAT32) == held + canvas.passing_bytes
    bits = random_bits(30, 16, 6)
    classes = torch.arange(30) % 5
    request = dataclasses.replace(
        canvas._request,
        classes=classes,
        order=raster_order(30, 16, classes.device),
        known=KnownBits(bits, bits),
        noise=CounterNoise(0, classes),
    )
    with torch.no_grad():
        canvas.start(request, Prefixes(bar.transformer, dropped_class=5, max_bytes=10**9))
        passing = peak_bytes(lambda: [canvas.advance(token) for token in range(16)])
    assert passing <= canvas.passing_bytes <= 3 * passing


def test_decoding_takes_what_was_said() -> None:
    tokenizer = Tokenizer(digits_tokenizer()).eval()
    bits = random_bits(8, 16, 16)
    peak = peak_bytes(lambda: tokenizer.decode(bits))
    assert peak <= decoding_bytes(tokenizer.config, 8) <= 3 * peak


def test_the_largest_batch_is_the_largest() -> None:
    bar = Bar(digits())
    free = 10**8
    most = largest_batch(bar, free, dtype=FLOAT32)
    assert 1 < most < MAX_BATCH

    def takes(num_images: int) -> int:
        shape = CanvasShape(num_images=num_images, sampling=bar.config.sampling, inpaints=False)
        return drawing_bytes(bar, shape, dtype=FLOAT32)

    assert takes(most) <= 0.9 * free < takes(most + 1)
    assert largest_batch(bar, free, dtype=torch.bfloat16) > most
    assert largest_batch(bar, free, dtype=FLOAT32, tokenizer=digits_tokenizer()) < most
    assert largest_batch(bar, 10**15, dtype=FLOAT32) == MAX_BATCH
    with pytest.raises(BadInput, match=r"drawing one image takes .* but 9.77 KiB are free"):
        largest_batch(bar, 10_000, dtype=FLOAT32)
