"""The layers that the transformer and the heads share."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F


class RMSNorm(nn.Module):
    """Root-mean-square normalisation, computed in float32, with a learned scale."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        return F.rms_norm(x.float(), self.weight.shape, self.weight.float(), eps=1e-6).to(x.dtype)


class SwiGLU(nn.Module):
    """Linear → SiLU(gate) · value → dropout → Linear, with two thirds of four times the width between."""

    def __init__(self, width: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        hidden = int(2 / 3 * 4 * width)
        self.gate_value = nn.Linear(width, 2 * hidden)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(hidden, width)

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        gate, value = self.gate_value(x).chunk(2, dim=-1)
        return self.out(self.dropout(F.silu(gate) * value))


class Modulation(nn.Module):
    """adaLN: `parts` vectors (shifts, scales, gates) from one condition; all zero at the start of training."""

    def __init__(self, width: int, *, parts: int) -> None:
        super().__init__()
        self.parts = parts
        self.linear = nn.Linear(width, parts * width)

    def forward(self, condition: Float[Tensor, "*batch width"]) -> tuple[Float[Tensor, "*batch width"], ...]:
        return self.split(self.joined(condition))

    def joined(self, condition: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch parts_width"]:
        """The parts side by side, to be split later."""
        return self.linear(F.silu(condition))

    def split(self, joined: Float[Tensor, "*batch parts_width"]) -> tuple[Float[Tensor, "*batch width"], ...]:
        return joined.chunk(self.parts, dim=-1)


def modulate(
    x: Float[Tensor, "*batch width"], shift: Float[Tensor, "*#batch width"], scale: Float[Tensor, "*#batch width"]
) -> Float[Tensor, "*batch width"]:
    return x * (1 + scale) + shift


class BitEmbedding(nn.Module):
    """Bits (0, 1, or 2 for masked) → one vector: an embedding a bit, concatenated, then a linear layer."""

    def __init__(self, bits: int, width: int) -> None:
        super().__init__()
        each = -(-width // bits)
        self.table = nn.Embedding(3, each)
        self.merge = nn.Linear(bits * each, width)

    def forward(self, ids: Int64[Tensor, "*batch bits"]) -> Float[Tensor, "*batch width"]:
        return self.merge(self.table(ids).flatten(-2))


def initialize(module: nn.Module) -> None:
    """docs/method.md, section 3: truncated normal 0.02 for linears and embeddings, biases and adaLN 0."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.trunc_normal_(part.weight, std=0.02)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)
    for part in module.modules():
        if isinstance(part, Modulation):
            nn.init.zeros_(part.linear.weight)
