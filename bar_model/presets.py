"""Named configurations: what each is for, and which figures it has.

The published figures are for 50,000 images of ImageNet's classes, drawn with guidance from the authors' own weights
(docs/method.md, section 4).
"""

from collections.abc import Callable

from bar_model.bits import CodeShape
from bar_model.generator.bar import BarConfig
from bar_model.generator.sampling import Sampling
from bar_model.generator.transformer import TransformerConfig
from bar_model.heads.make_head import HeadConfig
from bar_model.tokenizer.decoder import DecoderConfig, SemanticConfig
from bar_model.tokenizer.encoder import EncoderConfig
from bar_model.tokenizer.tokenizer import TokenizerConfig


def bar_b() -> BarConfig:
    """BAR-B for ImageNet at 256 px: 415 M parameters. Published: FID 1.13, IS 289.0, sFID 4.69."""
    return BarConfig(
        codes=CodeShape(grid=16, bits=16),
        num_classes=1000,
        transformer=TransformerConfig(width=768, depth=24, heads=12),
        sampling=Sampling(guidance_scale=5.0, temperature=2.5, allocation=(2, 2, 5, 7)),
    )


def bar_b_patch2() -> BarConfig:
    """BAR-B at 256 px in 64 tokens of 64 bits, six times as fast as bar-b. Published: FID 1.35, IS 293.4."""
    return BarConfig(
        codes=CodeShape(grid=16, bits=16),
        patch=2,
        num_classes=1000,
        transformer=TransformerConfig(width=768, depth=24, heads=12),
        sampling=Sampling(guidance_scale=5.5, temperature=2.0, allocation=(16, 16, 16, 16)),
    )


def bar_b_patch4() -> BarConfig:
    """BAR-B at 256 px in 16 tokens of 256 bits, eighteen times as fast as bar-b. Published: FID 2.34, IS 274.7."""
    return BarConfig(
        codes=CodeShape(grid=16, bits=16),
        patch=4,
        num_classes=1000,
        transformer=TransformerConfig(width=768, depth=24, heads=12),
        sampling=Sampling(guidance_scale=9.6, temperature=1.4, allocation=(64, 64, 64, 64)),
    )


def bar_l() -> BarConfig:
    """BAR-L for ImageNet at 256 px: 1.1 B parameters. Published: FID 0.99, IS 296.9, sFID 4.67."""
    return BarConfig(
        codes=CodeShape(grid=16, bits=16),
        num_classes=1000,
        transformer=TransformerConfig(width=1280, depth=32, heads=16, dropout=0.2),
        sampling=Sampling(guidance_scale=5.3, temperature=3.0, allocation=(2, 2, 5, 7)),
    )


def bar_l_512() -> BarConfig:
    """BAR-L for ImageNet at 512 px: 1.1 B parameters, 1,024 tokens. Published: FID 1.09, IS 311.1, sFID 4.40."""
    return BarConfig(
        codes=CodeShape(grid=32, bits=10),
        num_classes=1000,
        transformer=TransformerConfig(width=1280, depth=32, heads=16, dropout=0.2),
        sampling=Sampling(guidance_scale=4.2, temperature=2.8, allocation=(2, 2, 2, 4)),
    )


def bar_s() -> BarConfig:
    """A generator of 28 M parameters for a small GPU, otherwise as bar-b. Its FID is not measured."""
    return BarConfig(
        codes=CodeShape(grid=16, bits=16),
        num_classes=1000,
        transformer=TransformerConfig(width=384, depth=8, heads=6),
        head=HeadConfig(width=384, depth=3),
        sampling=Sampling(guidance_scale=5.0, temperature=2.5, allocation=(2, 2, 5, 7)),
    )


def digits() -> BarConfig:
    """A generator of 1.2 M parameters for handwritten digits at 32 px in 16 tokens; trains in minutes on two cores.

    Of 25 pairs of guidance and temperature, this one has the smallest Frechet distance between its samples and the
    validation scans (`benchmarks/digits_settings.py`).
    """
    return BarConfig(
        codes=CodeShape(grid=4, bits=16),
        num_classes=10,
        transformer=TransformerConfig(width=96, depth=4, heads=4, class_repeats=2),
        head=HeadConfig(width=128, depth=2),
        sampling=Sampling(guidance_scale=1.5, temperature=2.5, allocation=(2, 2, 5, 7)),
    )


GENERATORS: dict[str, Callable[[], BarConfig]] = {
    "bar-b": bar_b,
    "bar-b-patch2": bar_b_patch2,
    "bar-b-patch4": bar_b_patch4,
    "bar-l": bar_l,
    "bar-l-512": bar_l_512,
    "bar-s": bar_s,
    "digits": digits,
}


def bar_fsq(*, bits: int, image_size: int) -> TokenizerConfig:
    """The published architecture: SigLIP 2 so400m patch16 NaFlex, and a ViT-L decoder (docs/method.md, section 2)."""
    return TokenizerConfig(
        image_size=image_size,
        patch=16,
        bits=bits,
        encoder=EncoderConfig(width=1152, depth=27, heads=16, mlp_width=4304, position_grid=16, frozen_embeddings=True),
        decoder=DecoderConfig(
            width=1024,
            depth=24,
            heads=16,
            semantic=SemanticConfig(after_block=2, hidden_width=2048),
        ),
        balanced_start=False,
    )


def bar_fsq_16() -> TokenizerConfig:
    """The tokenizer of bar-b and bar-l, 4,096 bits an image of 256 px. Published: bar_fsq_16bits, bar_fsq_16bits_ft."""
    return bar_fsq(bits=16, image_size=256)


def bar_fsq_10_512() -> TokenizerConfig:
    """The tokenizer of bar-l-512, 10,240 bits an image of 512 px. Published: bar_sfq_10bits_res512."""
    return bar_fsq(bits=10, image_size=512)


def bar_fsq_10() -> TokenizerConfig:
    """The first rung of the paper's ladder of codebooks: 2,560 bits an image of 256 px."""
    return bar_fsq(bits=10, image_size=256)


def bar_fsq_12() -> TokenizerConfig:
    """A rung of the ladder: 3,072 bits an image of 256 px."""
    return bar_fsq(bits=12, image_size=256)


def bar_fsq_14() -> TokenizerConfig:
    """A rung of the ladder: 3,584 bits an image of 256 px."""
    return bar_fsq(bits=14, image_size=256)


def bar_fsq_18() -> TokenizerConfig:
    """A rung of the ladder: 4,608 bits an image of 256 px; about the last for a linear head."""
    return bar_fsq(bits=18, image_size=256)


def bar_fsq_32() -> TokenizerConfig:
    """A rung of the ladder: 8,192 bits an image of 256 px. Published: rFID 0.33, where SD-VAE has 0.62."""
    return bar_fsq(bits=32, image_size=256)


def bar_fsq_64() -> TokenizerConfig:
    """A rung of the ladder: 16,384 bits an image of 256 px."""
    return bar_fsq(bits=64, image_size=256)


def bar_fsq_128() -> TokenizerConfig:
    """A rung of the ladder: 32,768 bits an image of 256 px."""
    return bar_fsq(bits=128, image_size=256)


def bar_fsq_256() -> TokenizerConfig:
    """The last rung of the ladder: 65,536 bits an image of 256 px, as many as SD-VAE spends."""
    return bar_fsq(bits=256, image_size=256)


def digits_tokenizer() -> TokenizerConfig:
    """A tokenizer for handwritten digits at 32 px: 16 tokens of 16 bits, trained from scratch without downloads.

    1,200 steps of 32 rows on L1 and L2 alone take about 50 s of one core. A reader then recognises 99 % of held-out
    digits from their reconstructions, whose PSNR is 27 dB.
    """
    return TokenizerConfig(
        image_size=32,
        patch=8,
        bits=16,
        encoder=EncoderConfig(width=64, depth=1, heads=4, mlp_width=256, position_grid=4, frozen_embeddings=False),
        decoder=DecoderConfig(width=64, depth=3, heads=4, semantic=None),
        balanced_start=True,
    )


TOKENIZERS: dict[str, Callable[[], TokenizerConfig]] = {
    "bar-fsq-16": bar_fsq_16,
    "bar-fsq-10-512": bar_fsq_10_512,
    "bar-fsq-10": bar_fsq_10,
    "bar-fsq-12": bar_fsq_12,
    "bar-fsq-14": bar_fsq_14,
    "bar-fsq-18": bar_fsq_18,
    "bar-fsq-32": bar_fsq_32,
    "bar-fsq-64": bar_fsq_64,
    "bar-fsq-128": bar_fsq_128,
    "bar-fsq-256": bar_fsq_256,
    "digits": digits_tokenizer,
}
