"""Generators and a tokenizer small enough for every test, with weights large enough to matter."""

import torch
from torch import Tensor

from bar_model.bits import CodeShape
from bar_model.generator.bar import Bar, BarConfig
from bar_model.generator.sampling import Sampling
from bar_model.generator.transformer import TransformerConfig
from bar_model.heads.make_head import HeadConfig
from bar_model.tokenizer.decoder import DecoderConfig, SemanticConfig
from bar_model.tokenizer.encoder import EncoderConfig
from bar_model.tokenizer.tokenizer import TokenizerConfig

TINY_ENCODER = EncoderConfig(width=24, depth=2, heads=2, mlp_width=40, position_grid=4, frozen_embeddings=False)
TINY_DECODER = DecoderConfig(width=16, depth=3, heads=2, semantic=SemanticConfig(after_block=1, hidden_width=20))
TINY_TOKENIZER = TokenizerConfig(
    image_size=16, patch=4, bits=5, encoder=TINY_ENCODER, decoder=TINY_DECODER, balanced_start=True
)


def tiny_config(
    *,
    grid: int = 4,
    bits: int = 6,
    patch: int = 1,
    kind: str = "masked_bit",
    allocation: tuple[int, ...] | None = None,
    dropout: float = 0.0,
) -> BarConfig:
    token_bits = bits * patch**2
    return BarConfig(
        codes=CodeShape(grid=grid, bits=bits),
        patch=patch,
        num_classes=5,
        transformer=TransformerConfig(width=32, depth=2, heads=4, class_repeats=3, dropout=dropout),
        head=HeadConfig(kind=kind, width=24, depth=2),  # pyright: ignore[reportArgumentType]
        sampling=Sampling(guidance_scale=2.0, temperature=1.0, allocation=allocation or (token_bits,)),
    )


def make_bar(config: BarConfig, *, scale: float = 0.3) -> Bar:
    """At initialisation adaLN is zero and a model ignores most of its input: here every weight is drawn."""
    bar = Bar(config).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in bar.parameters():
            parameter.normal_(0, scale, generator=generator)
    return bar


def random_bits(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.5


def loss_and_gradients(bar: Bar, num: int = 8) -> tuple[Tensor, list[Tensor]]:
    """The loss of a batch, and its gradients."""
    torch.manual_seed(0)
    rows = torch.arange(num)
    chance = bar.training_draw(rows, torch.zeros_like(rows), seed=0, order_randomness=0.5, class_dropout=0.1)
    found = bar.loss(random_bits(num, 16, 6), rows % 5, chance)
    learned = [parameter for parameter in bar.parameters() if parameter.requires_grad]
    return found.total, list(torch.autograd.grad(found.total, learned))
