"""Named configurations: what each is for, and what it reaches.

The published figures (arXiv 2602.09024) are FID-50k on ImageNet with guidance, by the authors' own weights.
"""

from collections.abc import Callable

from bar_model.bar import BarConfig
from bar_model.bits import CodeShape
from bar_model.heads import HeadConfig
from bar_model.sampling import Sampling
from bar_model.transformer import TransformerConfig


def bar_b() -> BarConfig:
    """ImageNet 256 px, 415 M parameters. Published: FID 1.13, IS 289.0, sFID 4.69."""
    return BarConfig(
        codes=CodeShape(grid=16, bits=16),
        num_classes=1000,
        transformer=TransformerConfig(width=768, depth=24, heads=12),
        sampling=Sampling(guidance_scale=5.0, temperature=2.5, allocation=(2, 2, 5, 7)),
    )


def bar_b_patch2() -> BarConfig:
    """ImageNet 256 px in 64 tokens of 64 bits: six times the speed of bar-b. Published: FID 1.35, IS 293.4."""
    return BarConfig(
        codes=CodeShape(grid=16, bits=16),
        patch=2,
        num_classes=1000,
        transformer=TransformerConfig(width=768, depth=24, heads=12),
        sampling=Sampling(guidance_scale=5.5, temperature=2.0, allocation=(16, 16, 16, 16)),
    )


def bar_b_patch4() -> BarConfig:
    """ImageNet 256 px in 16 tokens of 256 bits: eighteen times the speed of bar-b. Published: FID 2.34, IS 274.7."""
    return BarConfig(
        codes=CodeShape(grid=16, bits=16),
        patch=4,
        num_classes=1000,
        transformer=TransformerConfig(width=768, depth=24, heads=12),
        sampling=Sampling(guidance_scale=9.6, temperature=1.4, allocation=(64, 64, 64, 64)),
    )


def bar_l() -> BarConfig:
    """ImageNet 256 px, 1.1 B parameters. Published: FID 0.99, IS 296.9, sFID 4.67."""
    return BarConfig(
        codes=CodeShape(grid=16, bits=16),
        num_classes=1000,
        transformer=TransformerConfig(width=1280, depth=32, heads=16, dropout=0.2),
        sampling=Sampling(guidance_scale=5.3, temperature=3.0, allocation=(2, 2, 5, 7)),
    )


def bar_l_512() -> BarConfig:
    """ImageNet 512 px, 1.1 B parameters, 1,024 tokens. Published: FID 1.09, IS 311.1, sFID 4.40."""
    return BarConfig(
        codes=CodeShape(grid=32, bits=10),
        num_classes=1000,
        transformer=TransformerConfig(width=1280, depth=32, heads=16, dropout=0.2),
        sampling=Sampling(guidance_scale=4.2, temperature=2.8, allocation=(2, 2, 2, 4)),
    )


def digits() -> BarConfig:
    """The handwritten digits at 32 px in 16 tokens: trains in minutes on two cores, for the quickstart and tests."""
    return BarConfig(
        codes=CodeShape(grid=4, bits=16),
        num_classes=10,
        transformer=TransformerConfig(width=192, depth=6, heads=6, class_repeats=4),
        head=HeadConfig(width=256, depth=2),
        sampling=Sampling(guidance_scale=2.0, temperature=1.0, allocation=(2, 2, 5, 7)),
    )


GENERATORS: dict[str, Callable[[], BarConfig]] = {
    "bar-b": bar_b,
    "bar-b-patch2": bar_b_patch2,
    "bar-b-patch4": bar_b_patch4,
    "bar-l": bar_l,
    "bar-l-512": bar_l_512,
    "digits": digits,
}
