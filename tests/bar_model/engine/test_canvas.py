import pytest
import torch

from bar_model.engine.canvas import Canvas, CanvasShape
from bar_model.engine.engine import Engine
from bar_model.torch_private import TorchDispatchMode, tensors_in
from tests.harness.drawing import LABELS, bar_of

FLOAT32 = torch.float32


class OnTheDeviceAlone(TorchDispatchMode):
    """Refuses tensors of the host, whose values would have to be sent."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        assert all(tensor.is_meta for tensor in tensors_in((args, kwargs, result))), f"{func} has a tensor of the host"
        return result


@pytest.mark.parametrize("kind", ["masked_bit", "bit", "linear"])
def test_no_token_waits_for_its_device(kind: str) -> None:
    """On tensors without data: an operation that reads a value, or has a shape that depends on one, raises."""
    bar = bar_of(kind=kind).to("meta")
    shape = CanvasShape(num_images=3, sampling=bar.config.sampling, inpaints=True)
    with OnTheDeviceAlone(), torch.no_grad():
        canvas = Canvas(bar, shape, dtype=FLOAT32)
        for token in range(16):
            canvas.draw_token(token)
        for waiting in (lambda drawn: drawn.any().item(), torch.Tensor.nonzero, lambda drawn: drawn[drawn]):
            with pytest.raises((RuntimeError, NotImplementedError)):
                waiting(canvas.drawn)
        with pytest.raises(AssertionError, match="tensor of the host"):
            torch.tensor(1, device="meta").add(torch.tensor([1]))


@pytest.mark.gpu
def test_on_a_gpu_no_token_waits() -> None:
    bar = bar_of().cuda()
    engine = Engine(bar, dtype=torch.bfloat16, compiled=False)
    engine.generate(LABELS)
    canvas = engine._canvas
    assert canvas is not None
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.no_grad(), engine._autocast:
            for token in range(bar.transformer.num_tokens):
                canvas.draw_token(token)
                canvas.advance(token)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_modulations_are_made_in_any_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    bar = bar_of()
    expected = bar.generate(LABELS)
    for slots in (1, 3, 100):
        monkeypatch.setattr("bar_model.engine.canvas.MODULATION_BYTES", slots * 4 * 6 * 6 * 32 * 2)
        assert torch.equal(Engine(bar, dtype=FLOAT32).generate(LABELS), expected)
    monkeypatch.setattr("bar_model.engine.canvas.NOISE_BYTES", 0)
    assert torch.equal(Engine(bar, dtype=FLOAT32).generate(LABELS), expected)
