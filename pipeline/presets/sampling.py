"""Mass sampling, by data set."""

from collections.abc import Callable

import tyro

from pipeline.samples.sample import SampleConfig


def sample_imagenet() -> SampleConfig:
    """ImageNet as FID is published: 50,000 images, labels cyclic, with the generator's own guidance."""
    return SampleConfig(generator=tyro.MISSING, tokenizer=tyro.MISSING, out=tyro.MISSING)


def sample_digits() -> SampleConfig:
    """1,000 digits, labels cyclic, with the generator's own guidance."""
    return SampleConfig(
        generator=tyro.MISSING, tokenizer=tyro.MISSING, out=tyro.MISSING, num_images=1000, batch_size=100, unit_size=200
    )


SAMPLING: dict[str, Callable[[], SampleConfig]] = {"imagenet": sample_imagenet, "digits": sample_digits}
