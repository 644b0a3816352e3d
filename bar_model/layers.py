"""The layers that the transformer and the heads share (docs/method.md, section 3)."""

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
        """x divided by its root mean square and multiplied by the scale; in the type of x."""
        return F.rms_norm(x.float(), self.weight.shape, self.weight.float(), eps=1e-6).to(x.dtype)


class SwiGLU(nn.Module):
    """Linear → SiLU(gate) · value → dropout → Linear, with int(2/3 · 4 · width) hidden units.

    Two thirds, so that three matrices have as many weights as the two of a plain MLP of four times the width.
    """

    def __init__(self, width: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        hidden = int(2 / 3 * 4 * width)
        self.gate_value = nn.Linear(width, 2 * hidden)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(hidden, width)

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """The result for each vector by itself."""
        gate, value = self.gate_value(x).chunk(2, dim=-1)
        return self.out(self.dropout(F.silu(gate) * value))


class Modulation(nn.Module):
    """adaLN: `parts` vectors (shifts, scales, gates) from one condition.

    At the start of training all of them are 0, so that every residual block begins as the identity.
    """

    def __init__(self, width: int, *, parts: int) -> None:
        super().__init__()
        self.parts = parts
        self.linear = nn.Linear(width, parts * width)

    def forward(self, condition: Float[Tensor, "*batch width"]) -> tuple[Float[Tensor, "*batch width"], ...]:
        """The parts for each condition."""
        return self.split(self.joined(condition))

    def joined(self, condition: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch parts_width"]:
        """The parts in one tensor, side by side; the engine stores them so."""
        return self.linear(F.silu(condition))

    def split(self, joined: Float[Tensor, "*batch parts_width"]) -> tuple[Float[Tensor, "*batch width"], ...]:
        """The parts of what `joined` gives."""
        return joined.chunk(self.parts, dim=-1)


def modulate(
    x: Float[Tensor, "*batch width"], shift: Float[Tensor, "*#batch width"], scale: Float[Tensor, "*#batch width"]
) -> Float[Tensor, "*batch width"]:
    """x · (1 + scale) + shift."""
    return x * (1 + scale) + shift


class BitEmbedding(nn.Module):
    """Bits (0, 1, or 2 for masked) to one vector: the embeddings of all bits, concatenated, then a linear layer.

    All bits share one table. It is the linear layer that distinguishes the places of the bits.
    """

    def __init__(self, bits: int, width: int) -> None:
        super().__init__()
        each = -(-width // bits)
        self.table = nn.Embedding(3, each)
        self.merge = nn.Linear(bits * each, width)

    def forward(self, ids: Int64[Tensor, "*batch bits"]) -> Float[Tensor, "*batch width"]:
        """One vector for each token."""
        return self.merge(self.table(ids).flatten(-2))


def initialize(module: nn.Module) -> None:
    """Initialise all layers below: truncated normal of deviation 0.02; biases and adaLN are 0.

    This is the published initialisation (docs/method.md, section 3).
    """
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.trunc_normal_(part.weight, std=0.02)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)
    for part in module.modules():
        if isinstance(part, Modulation):
            nn.init.zeros_(part.linear.weight)
