import dataclasses

import pytest
import torch

from bar_model.engine.canvas import Canvas
from bar_model.engine.cuda_graphs import CudaGraphs
from bar_model.engine.engine import Engine
from tests.harness.drawing import bar_of, two_requests

FLOAT32 = torch.float32


@pytest.mark.gpu
@pytest.mark.parametrize("order", ["raster", "random"])
def test_on_a_gpu_tokens_are_replayed(order: str) -> None:
    """The first batch launches and captures, the second replays; products of float32 as on the plain sampler."""
    bar = bar_of().cuda()
    sampling = dataclasses.replace(bar.config.sampling, order=order)
    engine = Engine(bar, dtype=FLOAT32, compiled=False)
    request = {}
    for request in two_requests(sampling=sampling, known=None):
        request["images"] = request["images"].cuda()
        assert torch.equal(engine.generate(**request), bar.generate(**request))
    replays = engine._canvas._replays  # pyright: ignore[reportOptionalMemberAccess]
    assert len(replays._graphs) == bar.transformer.num_tokens
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Canvas, "draw_token", None)  # Nothing is launched any more.
        assert torch.equal(engine.generate(**request), bar.generate(**request))


def test_elsewhere_the_work_is_run_each_time() -> None:
    runs: list[str] = []
    replays = CudaGraphs(torch.device("cpu"))
    for name in ("a", "b", "a"):
        replays(name, lambda name=name: runs.append(name))
    assert runs == ["a", "b", "a"]
