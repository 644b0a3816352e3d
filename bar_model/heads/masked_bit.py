"""The masked bit modelling head: a token's bits by progressive unmasking (docs/method.md, section 4).

A token of K bits is one of 2^K. A softmax over all of them can't be computed for large K, and K independent bits ignore
that bits depend on each other. This head stands between the two. It predicts all bits at once, but decides only some of
them in each step and sees those in the next. Its cost grows with K, not with 2^K.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from bar_model.errors import BadInput
from bar_model.heads.head import BitMask, Contexts, DrawNoise, Head, KnownBits, Loss, TokenSampling, bit_loss, guide
from bar_model.layers import BitEmbedding, Modulation, RMSNorm, SwiGLU, modulate
from bar_model.noise import gumbel

# The third row of the embedding of a bit.
_MASKED = 2
# Of a bit that the head sees. It is not 0, so that the logits of all bits are trained at every mask ratio.
_UNMASKED_WEIGHT = 0.1
# The smaller it is, the more the mask ratios of training gather around 1/2.
_LOGIT_NORMAL_SCALE = 0.8


class MaskedBitHead(Head):
    """Predicts the masked bits of a token from its context, the bits that are not masked, and the mask ratio.

    In training a random part of the bits is masked. In sampling all bits are masked at first, and a few steps decide
    them, the most confident ones first.
    """

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
        """The logits of both values of every bit, given the bits that are not masked."""
        # A masked bit has an embedding of its own, so that nothing of its value reaches the network.
        ids = torch.where(masked.mask, _MASKED, bits.long())
        condition = F.silu(context + self.ratio_embedding(masked.ratio))
        x = self.bit_norm(self.bit_embedding(ids))
        for block in self.blocks:
            x = block(x, condition)
        # Here the published weights hold the scale first; in the blocks they hold the shift first.
        scale, shift = self.modulation(condition)
        return self.out(modulate(self.norm(x), shift, scale)).unflatten(-1, (self.bits, 2))

    def training_mask(
        self, ratio_normals: Float[Tensor, "*tokens"], bit_uniforms: Float[Tensor, "*tokens bits"]
    ) -> BitMask:
        """A ratio r for each token, 1 − sigmoid(0.8 · n) clamped to [1/K, 1], and round(K · r) bits, at least one.

        The bits of the smallest uniforms are masked, which is a uniform choice of that many bits. The head receives r
        itself, not the fraction that rounding leaves: this is what the published weights were trained with.
        """
        ratio = (1 - torch.sigmoid(_LOGIT_NORMAL_SCALE * ratio_normals)).clamp(1 / self.bits, 1)
        num_masked = (self.bits * ratio).round().clamp(min=1)
        return BitMask(_rank(bit_uniforms) < num_masked[..., None], ratio)

    def loss(self, context: Float[Tensor, "tokens width"], bits: Bool[Tensor, "tokens bits"], masked: BitMask) -> Loss:
        """The cross-entropy of all bits: masked bits have weight 1, the others 0.1."""
        weights = torch.where(masked.mask, 1.0, _UNMASKED_WEIGHT)
        return bit_loss(self(context, bits, masked), bits, masked, weights)

    def sample(
        self, contexts: Contexts, sampling: TokenSampling, *, noise: DrawNoise, known: KnownBits | None = None
    ) -> Bool[Tensor, "batch bits"]:
        """Draw one token for each row in as many steps as the allocation has.

        Where bits are known, each step decides the same share of the unknown bits as it would of all bits.
        """
        bits, mask = _start(contexts, self.bits, known)
        num_unknown = mask.sum(-1)
        num_decided = 0
        for step, step_bits in enumerate(sampling.allocation):
            masked = BitMask(mask, mask.sum(-1) / self.bits)
            logits = self._guided_logits(contexts, sampling.guidance, bits, masked)
            # Late steps are less random: by then most bits are decided, and the others follow from them.
            temperature = sampling.temperature * (1 - step / len(sampling.allocation))
            uniforms = noise(step, self.bits)
            # The Gumbel-max rule: the argmax of logits / temperature plus Gumbel noise is a draw from their softmax.
            # Multiplying the noise instead of dividing the logits gives the same argmax, also at temperature 0.
            values = (logits + temperature * gumbel(uniforms.values)).argmax(-1)
            bits = torch.where(mask, values.bool(), bits)
            num_decided += step_bits
            if num_decided == self.bits:
                break
            # Every masked bit has a value now; only the most confident ones keep it. The confidence has fresh noise,
            # so that it is not always the same bits that come first. A bit that was decided before never returns.
            chosen = logits.gather(-1, values[..., None]).squeeze(-1)
            confidence = chosen + temperature * gumbel(uniforms.confidence)
            num_left = (num_unknown * (1 - num_decided / self.bits)).round()
            mask = _rank(confidence.masked_fill(~mask, torch.inf)) < num_left[:, None]
        return bits

    def noise_shape(self, allocation: Sequence[int]) -> tuple[int, int]:
        """As many steps as the allocation has, with one element for each bit."""
        return len(allocation), self.bits

    def check_allocation(self, allocation: Sequence[int]) -> None:
        """Check that the steps decide all bits.

        Raises:
            BadInput: the allocation does not sum to the bits of a token.
        """
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
        # Both conditions in one batch: the same bits, once with each context.
        both = BitMask(*(torch.cat((part, part)) for part in masked))
        logits = self(torch.cat((contexts.conditional, contexts.unconditional)), torch.cat((bits, bits)), both)
        return guide(logits, guidance)


class RatioEmbedding(nn.Module):
    """The mask ratio as 256 random Fourier features, then a network of two layers.

    The frequencies are drawn once and never trained. They are a parameter all the same, since they are saved.
    """

    def __init__(self, width: int, *, num_frequencies: int = 256) -> None:
        super().__init__()
        self.frequencies = nn.Parameter(torch.randn(num_frequencies), requires_grad=False)
        self.hidden = nn.Linear(2 * num_frequencies, width)
        self.out = nn.Linear(width, width)

    def forward(self, ratio: Float[Tensor, " tokens"]) -> Float[Tensor, "tokens width"]:
        """One vector for each ratio."""
        angles = ratio[:, None] * self.frequencies * 2 * torch.pi
        features = torch.cat((angles.sin(), angles.cos()), dim=-1)
        return self.out(F.silu(self.hidden(features)))


class HeadBlock(nn.Module):
    """A residual SwiGLU, modulated and gated by the condition: the context and the mask ratio."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = RMSNorm(width)
        self.feed_forward = SwiGLU(width)
        self.modulation = Modulation(width, parts=3)

    def forward(
        self, x: Float[Tensor, "tokens width"], condition: Float[Tensor, "tokens width"]
    ) -> Float[Tensor, "tokens width"]:
        """x + gate · SwiGLU(norm(x) · (1 + scale) + shift)."""
        shift, scale, gate = self.modulation(condition)
        return x + gate * self.feed_forward(modulate(self.norm(x), shift, scale))


def _rank(scores: Float[Tensor, "*batch elements"]) -> Int64[Tensor, "*batch elements"]:
    """The rank of each score in its row; the lowest has rank 0, and of equal scores the first is lower."""
    return scores.argsort(dim=-1, stable=True).argsort(dim=-1)


def _start(
    contexts: Contexts, bits: int, known: KnownBits | None
) -> tuple[Bool[Tensor, "batch bits"], Bool[Tensor, "batch bits"]]:
    """The bits before the first step, and which of them are still masked."""
    if known is not None:
        return known.bits & known.mask, ~known.mask
    shape, device = (len(contexts.conditional), bits), contexts.conditional.device
    return torch.zeros(shape, dtype=torch.bool, device=device), torch.ones(shape, dtype=torch.bool, device=device)
