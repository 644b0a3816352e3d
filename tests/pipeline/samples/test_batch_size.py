"""How many images fit where the workers run."""

import re

import pytest
import torch

from bar_model.engine.batch_size import decoding_bytes, drawing_bytes
from bar_model.engine.canvas import CanvasShape
from bar_model.errors import BadInput
from bar_model.generator.bar import Bar
from bar_model.presets import digits, digits_tokenizer
from bar_model.tokenizer.tokenizer import Tokenizer
from pipeline.execution.ray_data import Workers
from pipeline.samples import batch_size
from pipeline.samples.batch_size import WorkerLoad

pytest_plugins = ["tests.harness.fixtures_s3", "tests.harness.fixtures_ray"]


@pytest.fixture
def load() -> WorkerLoad:
    bar, tokenizer = Bar(digits()), Tokenizer(digits_tokenizer(), decode_only=True)
    return WorkerLoad(generator=bar, tokenizer=tokenizer, sampling=bar.config.sampling, precision="float32")


@pytest.mark.ray
def test_a_batch_is_the_greatest_part_of_a_unit_that_fits(
    ray_here: str, load: WorkerLoad, monkeypatch: pytest.MonkeyPatch
) -> None:
    def choose(free_bytes: float) -> int:
        # As if a task on the cluster had found so much.
        monkeypatch.setattr(batch_size, "available_bytes", lambda _: int(free_bytes))
        return load.choose(unit_size=500, device="cpu", workers=Workers(num=2))

    shape = CanvasShape(num_images=180, sampling=load.sampling, inpaints=False)
    drawing = drawing_bytes(load.generator, shape, dtype=torch.float32) + decoding_bytes(load.tokenizer.config, 180)
    models = sum(each.nbytes for model in (load.generator, load.tokenizer) for each in model.parameters())
    assert choose(2 * (drawing / 0.9 + 2 * models + 1)) == 125  # Two workers: 180 images fit into each.
    assert choose(10**15) == 500
    with pytest.raises(BadInput, match=re.escape("batch_size: auto, but for each worker on cpu, drawing one image")):
        choose(1000)
