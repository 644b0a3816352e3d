import dataclasses
import logging

import pytest
import torch

from bar_model.engine import engine
from bar_model.engine.batch_size import MAX_BATCH, decoding_bytes, drawing_bytes, largest_batch
from bar_model.engine.canvas import Canvas, CanvasShape
from bar_model.engine.engine import Engine
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
LABELS = torch.tensor([0, 1, 2, 3, 4, 5, 0])


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


def test_what_does_not_fit_is_drawn_in_parts(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    bar = make_bar(tiny_config(allocation=(1, 2, 3)))
    known = KnownBits(random_bits(7, 16, 6, seed=1), random_bits(7, 16, 6, seed=2))
    expected = bar.generate(LABELS, known=known)
    drawing = Engine(bar, dtype=FLOAT32)
    shape = CanvasShape(num_images=2, sampling=bar.config.sampling, inpaints=True)
    room = drawing_bytes(bar, shape, dtype=FLOAT32) * 10 // 9 + 1
    monkeypatch.setattr(engine, "available_bytes", lambda device: room)
    for _ in range(2):
        assert torch.equal(drawing.generate(LABELS, known=known), expected)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [warning.partition(":")[0] for warning in warnings] == [
        "7 images at once do not fit into memory",
        "4 images at once do not fit into memory",
    ]
    monkeypatch.setattr(engine, "available_bytes", lambda device: 1000)
    with pytest.raises(BadInput, match="drawing one image takes"):
        Engine(bar, dtype=FLOAT32).generate(LABELS)


def test_memory_that_ends_in_the_middle_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    bar = make_bar(tiny_config(allocation=(1, 2, 3)))
    drawing, advance = Engine(bar, dtype=FLOAT32), Canvas.advance

    def short(canvas: Canvas, token: int) -> None:
        if canvas.shape.num_images > 3 and token == 5:
            raise torch.OutOfMemoryError
        advance(canvas, token)

    monkeypatch.setattr(Canvas, "advance", short)
    assert torch.equal(drawing.generate(LABELS), bar.generate(LABELS))
    assert drawing._fitting == 2
