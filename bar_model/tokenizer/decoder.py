"""The tokenizer's decoder: a ViT from quantised tokens to pixels, with a branch for the semantic loss.

See docs/method.md, section 2.
"""

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from bar_model.errors import BadInput
from bar_model.ranges import Depth, Range, Size, check_ranges


@dataclass(frozen=True, kw_only=True)
class SemanticConfig:
    """After which block the decoder predicts the frozen encoder's features, and how wide that branch is."""

    after_block: Annotated[int, Range(least=0, below=2**10)]
    hidden_width: Size

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """The size of the decoder, a pre-norm ViT; `semantic` is None if no semantic loss is trained."""

    width: Size
    depth: Depth
    heads: Size
    semantic: SemanticConfig | None

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.width % self.heads:
            raise BadInput(f"decoder of width {self.width}: not divisible by its {self.heads} heads")
        if self.semantic and not 0 <= self.semantic.after_block < self.depth:
            raise BadInput(f"semantic features after block {self.semantic.after_block} of {self.depth}: no such block")


class DecoderOutput(NamedTuple):
    """Images, not clamped, and on request the predicted features of the frozen encoder."""

    images: Float[Tensor, "batch 3 height width"]
    semantics: Float[Tensor, "batch tokens features"] | None


class Decoder(nn.Module):
    """Turns tokens in raster order into images, which are not clamped."""

    def __init__(self, config: DecoderConfig, *, grid: int, patch: int, feature_width: int) -> None:
        super().__init__()
        self.grid = grid
        self.patch = patch
        self.semantic_block = config.semantic.after_block if config.semantic else None
        deviation = config.width**-0.5
        self.class_token = nn.Parameter(deviation * torch.randn(1, config.width))
        self.positions = nn.Parameter(deviation * torch.randn(grid**2 + 1, config.width))
        self.norm_in = nn.LayerNorm(config.width)
        self.blocks = nn.ModuleList(DecoderBlock(config.width, config.heads) for _ in range(config.depth))
        self.norm_out = nn.LayerNorm(config.width)
        self.pixels = nn.Conv2d(config.width, patch**2 * 3, kernel_size=1)
        self.smoothing = nn.Conv2d(3, 3, kernel_size=3, padding=1)
        self.semantic_projector = None
        if config.semantic:
            self.semantic_projector = _projector(config.width, config.semantic.hidden_width, feature_width)
        self.apply(_initialize)

    def forward(self, tokens: Float[Tensor, "batch tokens width"], *, semantics: bool) -> DecoderOutput:
        """The images of these tokens; with `semantics` also the predicted features, which only training needs."""
        predicted = None
        class_token = self.class_token.expand(len(tokens), -1, -1).to(tokens.dtype)
        x = self.norm_in(torch.cat([class_token, tokens], dim=1) + self.positions)
        for index, block in enumerate(self.blocks):
            x = block(x)
            if semantics and self.semantic_projector and index == self.semantic_block:
                predicted = self.semantic_projector(x[:, 1:])
        x = rearrange(self.norm_out(x[:, 1:]), "b (row column) width -> b width row column", row=self.grid)
        pattern = "b (pr pc c) row column -> b c (row pr) (column pc)"
        patches = rearrange(self.pixels(x), pattern, pr=self.patch, pc=self.patch)
        return DecoderOutput(self.smoothing(patches), predicted)


class DecoderBlock(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)), with LayerNorm and exact GELU."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Float[Tensor, "batch slots width"]) -> Float[Tensor, "batch slots width"]:
        """The block over the class token and all tokens, each of which attends to all."""
        qkv = rearrange(self.qkv(self.norm_attention(x)), "b n (three h d) -> three b h n d", three=3, h=self.heads)
        attended = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
        x = x + self.attention_out(rearrange(attended, "b h n d -> b n (h d)"))
        return x + self.mlp(self.norm_mlp(x))


def _projector(width: int, hidden_width: int, feature_width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, hidden_width),
        nn.SiLU(),
        nn.Linear(hidden_width, hidden_width),
        nn.SiLU(),
        nn.Linear(hidden_width, feature_width),
    )


def _initialize(module: nn.Module) -> None:
    """The published initialisation: truncated normal of deviation 0.02 for linears and convolutions, biases 0."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
