"""scikit-learn's digits as what an evaluation of digits judges."""

from dataclasses import replace

import numpy as np
import pytest

from bar_model.bits import CodeShape
from bar_model.generator.sampling import Sampling
from pipeline.digits.protocol import DigitsProtocol, Evidence, LabelledImages
from pipeline.samples.shard import Drawing
from tests.harness.scans import as_samples, enlarged, some


@pytest.fixture(scope="module")
def digits() -> LabelledImages:
    from sklearn.datasets import load_digits

    scans, labels = map(np.asarray, load_digits(return_X_y=True))
    order = np.random.default_rng(0).permutation(len(scans))
    return LabelledImages(enlarged(scans[order]), labels[order].astype(np.int32))


@pytest.fixture
def evidence(digits: LabelledImages) -> Evidence:
    """Samples that are as good as can be: real scans that nobody else has seen."""
    held_out = some(digits, 1000, 1200)
    return Evidence(
        train=some(digits, 0, 1000),
        held_out=held_out,
        reconstructions=held_out.images,
        guided=as_samples(some(digits, 1200, 1500)),
        unguided=as_samples(some(digits, 1500, 1797)),
    )


@pytest.fixture
def protocol(evidence: Evidence) -> DigitsProtocol:
    guided = Drawing(
        generator="g",
        tokenizer="t",
        codes=CodeShape(grid=4, bits=16),
        image_size=32,
        seed=0,
        labels="cyclic, 0 to 9",
        sampling=Sampling(guidance_scale=2.0, temperature=1.0, allocation=(16,)),
        batch_size=100,
        precision="float32",
        device="cpu",
    )
    unguided = replace(guided, sampling=replace(guided.sampling, guidance_scale=1.0))
    return DigitsProtocol.of(evidence, guided, unguided)
