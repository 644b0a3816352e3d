"""Folders of samples as their stage leaves them, without Ray."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bar_model.bits import CodeShape
from bar_model.configuration import plain
from bar_model.generator.sampling import Sampling
from pipeline.execution.stage import publish
from pipeline.execution.unit import Unit, finish_unit
from pipeline.samples.encoding import Keeping
from pipeline.samples.folder import STAGE
from pipeline.samples.sample import drawing_work
from pipeline.samples.shard import Drawing, Samples
from pipeline.storage import Folder

NUM, SIZE = 7, 16
DRAWING = Drawing(
    generator="generator",
    tokenizer="tokenizer",
    codes=CodeShape(grid=1, bits=8),
    image_size=SIZE,
    seed=0,
    labels="cyclic, 0 to 2",
    sampling=Sampling(guidance_scale=2.0, temperature=1.0, allocation=(4, 4)),
    batch_size=2,
    precision="float32",
    device="cpu",
)


def some_images(num: int, seed: int) -> np.ndarray:
    """Random images, the same ones for a seed."""
    return np.random.default_rng(seed).integers(0, 256, (num, SIZE, SIZE, 3), dtype=np.uint8)


def save_samples(url: Path, seed: int, indices: Sequence[int] = range(NUM), size: int = 4) -> str:
    """Samples as their stage leaves them, `size` a shard."""
    drawing = replace(DRAWING, seed=seed)
    work = drawing_work(drawing, Keeping(), build=lambda: lambda row: row)
    images = some_images(len(indices), seed)
    units, receipts = [], []
    for index, start in enumerate(range(0, len(indices), size)):
        some = np.array(indices[start : start + size], np.int64)
        codes = np.zeros((len(some), 1), np.uint8)
        samples = Samples(some, (some % 3).astype(np.int32), images[start : start + size], codes)
        units.append(Unit(index=index, size=len(some), payload=some.tolist()))
        receipts.append(finish_unit(Folder(str(url)), work, units[-1], samples._asdict()))
    publish(
        Folder(str(url)), STAGE, units, receipts, configuration={"drawing": plain(drawing), "first_index": indices[0]}
    )
    return str(url)
