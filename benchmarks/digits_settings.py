"""Guidance and temperature for the digits, by the Frechet distance of samples to the validation scans alone.

    python benchmarks/digits_settings.py runs/quickstart

Neither the reader nor a test scan takes part: both are for judging what was chosen here.
"""

import itertools
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import bar_model
from bar_model.generator.bar import Bar
from bar_model.tokenizer.tokenizer import Tokenizer
from pipeline.digits.reader import features_8x8
from pipeline.images.codec import decode_and_crop, from_model
from pipeline.metrics.frechet import frechet_distance, moments

GUIDANCE = (1.0, 1.5, 2.0, 2.5, 3.0)
TEMPERATURE = (1.5, 2.0, 2.5, 3.0, 3.5)
SETS, IMAGES = 3, 400


def main(folder: Path) -> None:
    generator, tokenizer = (bar_model.load(str(folder / name / "model")) for name in ("generator", "tokenizer"))
    assert isinstance(generator, Bar)
    assert isinstance(tokenizer, Tokenizer)
    scans = [decode_and_crop(path.read_bytes(), 32) for path in sorted((folder / "digits/validation").rglob("*.png"))]
    reference = moments(features_8x8(np.stack(scans)))
    allocation = generator.config.sampling.allocation
    print(f"{SETS} sets of {IMAGES} samples to {len(scans)} validation scans; allocation {allocation}")
    print("guidance temperature  Frechet distance, mean and range")
    labels = torch.arange(IMAGES) % generator.config.num_classes
    for guidance, temperature in itertools.product(GUIDANCE, TEMPERATURE):
        sampling = replace(generator.config.sampling, guidance_scale=guidance, temperature=temperature)
        distances = []
        for seed in range(SETS):
            codes = generator.generate(labels, seed=1000 + seed, sampling=sampling)
            drawn = moments(features_8x8(from_model(tokenizer.decode(codes))))
            distances.append(frechet_distance(drawn, reference))
        spread = f"{min(distances):.1f} … {max(distances):.1f}"
        print(f"{guidance:8g} {temperature:11g}  {np.mean(distances):.2f}  ({spread})", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
