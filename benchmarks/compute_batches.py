"""Whether an image depends on how many are drawn at once: the share of equal bits, drawn by a trained model.

    python benchmarks/compute_batches.py runs/quickstart

The noise is the same; float sums are not, and where two values of a bit are as good as equal, that decides.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor

import bar_model
from bar_model.engine.engine import Engine
from bar_model.engine.packed_linear import can_pack
from bar_model.generator.bar import Bar

BATCHES = (1, 7, 25, 125)
NUM_IMAGES = 125


def main(folder: Path) -> None:
    bar = bar_model.load(str(folder / "generator/model"))
    assert isinstance(bar, Bar)
    labels = torch.arange(NUM_IMAGES) % bar.config.num_classes

    def draw(engine: Engine, batch: int) -> Tensor:
        parts = zip(labels.split(batch), torch.arange(NUM_IMAGES).split(batch), strict=True)
        return torch.cat([engine.generate(some, images=images) for some, images in parts])

    print(f"dtype     batch  equal bits  equal images, of {NUM_IMAGES} drawn {BATCHES[-1]} at once")
    for dtype in (torch.float32, torch.bfloat16):
        if dtype == torch.bfloat16 and not can_pack(dtype):
            continue
        engine = Engine(bar, dtype=dtype)
        reference = draw(engine, BATCHES[-1])
        for batch in BATCHES[:-1]:
            equal = draw(engine, batch) == reference
            bits, images = equal.float().mean(), equal.flatten(1).all(1).float().mean()
            print(f"{str(dtype)[6:]:9} {batch:5}  {bits:10.4%}  {images:12.1%}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
