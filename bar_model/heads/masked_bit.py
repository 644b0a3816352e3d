"""Masked bit modelling: a token's bits by progressive unmasking (docs/method.md, section 4)."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from bar_model.errors import BadInput
from bar_model.heads.head import BitMask, Contexts, DrawNoise, Head, KnownBits, Loss, TokenSampling, bit_loss, guide
from bar_model.layers import BitEmbedding, Modulation, RMSNorm, SwiGLU, modulate
from bar_model.noise import gumbel

_MASKED = 2
_UNMASKED_WEIGHT = 0.1
_LOGIT_NORMAL_SCALE = 0.8


class MaskedBitHead(Head):
    """Draws a token's bits by progressive unmasking."""

    def __init__(self, bits: int, *, width: int, depth: int) -> None:
        super().__init__(bits)
        self.bit_embedding = BitEmbedding(bits, width)
        self.bit_norm = RMSNorm(width)
        self.ratio_embedding = RatioEmbedding(width)
        self.blocks = nn.ModuleList(HeadBlock(width) for _ in range(depth))
        self.norm = RMSNorm(width)
        self.modulation = Modulation(width, parts=2)
        self.out = nn.Linear(width, 2 * bits)

    def forward(
        self, context: Float[Tensor, "tokens width"], bits: Bool[Tensor, "tokens bits"], masked: BitMask
    ) -> Float[Tensor, "tokens bits 2"]:
        """The logits of both values of every bit, given those that are not masked."""
        ids = torch.where(masked.mask, _MASKED, bits.long())
        condition = F.silu(context + self.ratio_embedding(masked.ratio))
        x = self.bit_norm(self.bit_embedding(ids))
        for block in self.blocks:
            x = block(x, condition)
        scale, shift = self.modulation(condition)
        return self.out(modulate(self.norm(x), shift, scale)).unflatten(-1, (self.bits, 2))

    def training_mask(
        self, ratio_normals: Float[Tensor, "*tokens"], bit_uniforms: Float[Tensor, "*tokens bits"]
    ) -> BitMask:
        ratio = (1 - torch.sigmoid(_LOGIT_NORMAL_SCALE * ratio_normals)).clamp(1 / self.bits, 1)
        num_masked = (self.bits * ratio).round().clamp(min=1)
        return BitMask(_rank(bit_uniforms) < num_masked[..., None], ratio)

    def loss(self, context: Float[Tensor, "tokens width"], bits: Bool[Tensor, "tokens bits"], masked: BitMask) -> Loss:
        weights = torch.where(masked.mask, 1.0, _UNMASKED_WEIGHT)
        return bit_loss(self(context, bits, masked), bits, masked, weights)

    def sample(
        self, contexts: Contexts, sampling: TokenSampling, *, noise: DrawNoise, known: KnownBits | None = None
    ) -> Bool[Tensor, "batch bits"]:
        """Where bits are known, the others are decided in the same proportions by each step."""
        bits, mask = _start(contexts, self.bits, known)
        num_unknown = mask.sum(-1)
        num_decided = 0
        for step, step_bits in enumerate(sampling.allocation):
            masked = BitMask(mask, mask.sum(-1) / self.bits)
            logits = self._guided_logits(contexts, sampling.guidance, bits, masked)
            temperature = sampling.temperature * (1 - step / len(sampling.allocation))
            uniforms = noise(step, self.bits)
            values = (logits + temperature * gumbel(uniforms.values)).argmax(-1)
            bits = torch.where(mask, values.bool(), bits)
            num_decided += step_bits
            if num_decided == self.bits:
                break
            chosen = logits.gather(-1, values[..., None]).squeeze(-1)
            confidence = chosen + temperature * gumbel(uniforms.confidence)
            num_left = (num_unknown * (1 - num_decided / self.bits)).round()
            mask = _rank(confidence.masked_fill(~mask, torch.inf)) < num_left[:, None]
        return bits

    def noise_shape(self, allocation: Sequence[int]) -> tuple[int, int]:
        return len(allocation), self.bits

    def check_allocation(self, allocation: Sequence[int]) -> None:
        if sum(allocation) != self.bits:
            raise BadInput(
                f"allocation {tuple(allocation)} decides {sum(allocation)} bits, but a token has {self.bits}: "
                "its steps must sum to that"
            )

    def _guided_logits(
        self,
        contexts: Contexts,
        guidance: float,
        bits: Bool[Tensor, "batch bits"],
        masked: BitMask,
    ) -> Float[Tensor, "batch bits 2"]:
        if contexts.unconditional is None:
            return self(contexts.conditional, bits, masked).float()
        both = BitMask(*(torch.cat((part, part)) for part in masked))
        logits = self(torch.cat((contexts.conditional, contexts.unconditional)), torch.cat((bits, bits)), both)
        return guide(logits, guidance)


class RatioEmbedding(nn.Module):
    """The mask ratio as 256 frozen random Fourier features, then a two-layer network."""

    def __init__(self, width: int, *, num_frequencies: int = 256) -> None:
        super().__init__()
        self.frequencies = nn.Parameter(torch.randn(num_frequencies), requires_grad=False)
        self.hidden = nn.Linear(2 * num_frequencies, width)
        self.out = nn.Linear(width, width)

    def forward(self, ratio: Float[Tensor, " tokens"]) -> Float[Tensor, "tokens width"]:
        angles = ratio[:, None] * self.frequencies * 2 * torch.pi
        features = torch.cat((angles.sin(), angles.cos()), dim=-1)
        return self.out(F.silu(self.hidden(features)))


class HeadBlock(nn.Module):
    """A SwiGLU, modulated and gated by the context and the mask ratio."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = RMSNorm(width)
        self.feed_forward = SwiGLU(width)
        self.modulation = Modulation(width, parts=3)

    def forward(
        self, x: Float[Tensor, "tokens width"], condition: Float[Tensor, "tokens width"]
    ) -> Float[Tensor, "tokens width"]:
        shift, scale, gate = self.modulation(condition)
        return x + gate * self.feed_forward(modulate(self.norm(x), shift, scale))


def _rank(scores: Float[Tensor, "*batch elements"]) -> Int64[Tensor, "*batch elements"]:
    """The place of each score among those of its row, the lowest at 0."""
    return scores.argsort(dim=-1, stable=True).argsort(dim=-1)


def _start(
    contexts: Contexts, bits: int, known: KnownBits | None
) -> tuple[Bool[Tensor, "batch bits"], Bool[Tensor, "batch bits"]]:
    """The bits before the first step, and which of them are still masked."""
    if known is not None:
        return known.bits & known.mask, ~known.mask
    shape, device = (len(contexts.conditional), bits), contexts.conditional.device
    return torch.zeros(shape, dtype=torch.bool, device=device), torch.ones(shape, dtype=torch.bool, device=device)
