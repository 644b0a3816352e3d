"""The heads that write a token's bits: masked bit modelling, and the two baselines (method.md, sections 4 and 6)."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from bar_model.errors import BadInput
from bar_model.layers import BitEmbedding, Modulation, RMSNorm, SwiGLU, modulate
from bar_model.memory import available_bytes, readable_bytes
from bar_model.noise import StepNoise, gumbel

NUM_RATIO_BUCKETS = 10
_MASKED = 2
_UNMASKED_WEIGHT = 0.1
_LOGIT_NORMAL_SCALE = 0.8


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """`width` is also that of the contexts; `depth` counts the residual blocks of the masked bit head."""

    kind: Literal["masked_bit", "bit", "linear"] = "masked_bit"
    width: int = 2048
    depth: int = 3


class Known(NamedTuple):
    """Bits that are given: where `mask` holds, the drawn ones are these `bits`."""

    bits: Bool[Tensor, "*batch bits"]
    mask: Bool[Tensor, "*batch bits"]


class BitMask(NamedTuple):
    """Which bits of a token the head does not see, and the mask ratio that it is told."""

    mask: Bool[Tensor, "*tokens bits"]
    ratio: Float[Tensor, "*tokens"]


class Loss(NamedTuple):
    """A weighted sum and its weight: their quotient, over all ranks and micro-batches, is the loss of a step.

    `correct` and `counted` count the masked bits read right, by mask ratio in tenths.
    """

    total: Float[Tensor, ""]
    weight: Float[Tensor, ""]
    correct: Float[Tensor, " buckets"]
    counted: Float[Tensor, " buckets"]


DrawNoise = Callable[[int, int], StepNoise]


class Head(nn.Module, ABC):
    """From the context of a token to its bits."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits

    @abstractmethod
    def training_mask(
        self, ratio_normals: Float[Tensor, "*tokens"], bit_uniforms: Float[Tensor, "*tokens bits"]
    ) -> BitMask:
        """Which bits to hide in training, as a function of standard normals and uniforms."""

    @abstractmethod
    def loss(
        self, context: Float[Tensor, "tokens width"], bits: Bool[Tensor, "tokens bits"], masked: BitMask
    ) -> Loss: ...

    @abstractmethod
    def sample(
        self,
        context: Float[Tensor, "batch width"],
        *,
        unconditional: Float[Tensor, "batch width"] | None,
        guidance: float,
        temperature: float,
        allocation: Sequence[int],
        noise: DrawNoise,
        known: Known | None,
    ) -> Bool[Tensor, "batch bits"]:
        """Draw a token. With `unconditional` contexts, logits are guided: u + guidance · (c − u).

        `noise(step, count)` gives the uniforms of an unmasking step for `count` elements.
        """

    def check_allocation(self, allocation: Sequence[int]) -> None:
        """Refuse an allocation that this head can't follow."""


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

    def logits(
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
        return _bit_loss(self.logits(context, bits, masked), bits, masked, weights)

    def sample(
        self,
        context: Float[Tensor, "batch width"],
        *,
        unconditional: Float[Tensor, "batch width"] | None,
        guidance: float,
        temperature: float,
        allocation: Sequence[int],
        noise: DrawNoise,
        known: Known | None,
    ) -> Bool[Tensor, "batch bits"]:
        """Where bits are known, the others are decided in the same proportions by each step."""
        bits, mask = _start(context, self.bits, known)
        num_unknown = mask.sum(-1)
        num_decided = 0
        for step, step_bits in enumerate(allocation):
            masked = BitMask(mask, mask.sum(-1) / self.bits)
            logits = self._guided_logits(context, unconditional, guidance, bits, masked)
            step_temperature = temperature * (1 - step / len(allocation))
            uniforms = noise(step, self.bits)
            values = (logits + step_temperature * gumbel(uniforms.values)).argmax(-1)
            bits = torch.where(mask, values.bool(), bits)
            num_decided += step_bits
            if num_decided == self.bits:
                break
            chosen = logits.gather(-1, values[..., None]).squeeze(-1)
            confidence = chosen + step_temperature * gumbel(uniforms.confidence)
            num_left = (num_unknown * (1 - num_decided / self.bits)).round()
            mask = _rank(confidence.masked_fill(~mask, torch.inf)) < num_left[:, None]
        return bits

    def check_allocation(self, allocation: Sequence[int]) -> None:
        if sum(allocation) != self.bits:
            raise BadInput(
                f"allocation {tuple(allocation)} decides {sum(allocation)} bits, but a token has {self.bits}: "
                "its steps must sum to that"
            )

    def _guided_logits(
        self,
        context: Float[Tensor, "batch width"],
        unconditional: Float[Tensor, "batch width"] | None,
        guidance: float,
        bits: Bool[Tensor, "batch bits"],
        masked: BitMask,
    ) -> Float[Tensor, "batch bits 2"]:
        if unconditional is None:
            return self.logits(context, bits, masked).float()
        both = BitMask(*(torch.cat((part, part)) for part in masked))
        logits = self.logits(torch.cat((context, unconditional)), torch.cat((bits, bits)), both)
        return _guide(logits, guidance)


class BitHead(Head):
    """All bits at once, each independent of the others given the context (Infinity's, arXiv 2412.04431)."""

    def __init__(self, bits: int, *, width: int) -> None:
        super().__init__(bits)
        self.out = nn.Linear(width, 2 * bits)

    def logits(self, context: Float[Tensor, "tokens width"]) -> Float[Tensor, "tokens bits 2"]:
        return self.out(context).unflatten(-1, (self.bits, 2))

    def training_mask(
        self, ratio_normals: Float[Tensor, "*tokens"], bit_uniforms: Float[Tensor, "*tokens bits"]
    ) -> BitMask:
        return _all_masked(bit_uniforms)

    def loss(self, context: Float[Tensor, "tokens width"], bits: Bool[Tensor, "tokens bits"], masked: BitMask) -> Loss:
        return _bit_loss(self.logits(context), bits, masked, torch.ones_like(bits, dtype=torch.float32))

    def sample(
        self,
        context: Float[Tensor, "batch width"],
        *,
        unconditional: Float[Tensor, "batch width"] | None,
        guidance: float,
        temperature: float,
        allocation: Sequence[int],
        noise: DrawNoise,
        known: Known | None,
    ) -> Bool[Tensor, "batch bits"]:
        logits = self.logits(context).float()
        if unconditional is not None:
            logits = _guide(torch.cat((logits, self.logits(unconditional).float())), guidance)
        drawn = (logits + temperature * gumbel(noise(0, self.bits).values)).argmax(-1).bool()
        return drawn if known is None else torch.where(known.mask, known.bits, drawn)


class LinearHead(Head):
    """One softmax over the whole codebook of 2^bits entries; an entry is its bits, the first the most significant."""

    _place_values: Int64[Tensor, " bits"]

    def __init__(self, bits: int, *, width: int) -> None:
        """Raises: BadInput where the weights can't fit."""
        super().__init__(bits)
        _require(4 * (width + 1) * 2**bits, torch.get_default_device(), f"the weights of a linear head over 2^{bits}")
        self.out = nn.Linear(width, 2**bits)
        self.register_buffer("_place_values", 2 ** torch.arange(bits - 1, -1, -1, device="cpu"), persistent=False)

    def training_mask(
        self, ratio_normals: Float[Tensor, "*tokens"], bit_uniforms: Float[Tensor, "*tokens bits"]
    ) -> BitMask:
        return _all_masked(bit_uniforms)

    def loss(self, context: Float[Tensor, "tokens width"], bits: Bool[Tensor, "tokens bits"], masked: BitMask) -> Loss:
        logits = self._logits(context)
        total = F.cross_entropy(logits, self._entries(bits), reduction="sum")
        read = self._bits(logits.argmax(-1))
        return Loss(total, total.new_tensor(bits.shape[0]), *_count_correct(read == bits, masked))

    def sample(
        self,
        context: Float[Tensor, "batch width"],
        *,
        unconditional: Float[Tensor, "batch width"] | None,
        guidance: float,
        temperature: float,
        allocation: Sequence[int],
        noise: DrawNoise,
        known: Known | None,
    ) -> Bool[Tensor, "batch bits"]:
        logits = self._logits(context)
        if unconditional is not None:
            logits = _guide(torch.cat((logits, self._logits(unconditional))), guidance)
        if known is not None:
            codebook = self._bits(torch.arange(2**self.bits, device=context.device))
            agrees = (codebook == known.bits[:, None]) | ~known.mask[:, None]
            logits = logits.masked_fill(~agrees.all(-1), -torch.inf)
        scores = logits + temperature * gumbel(noise(0, 2**self.bits).values[..., 0])
        return self._bits(scores.argmax(-1))

    def _logits(self, context: Float[Tensor, "tokens width"]) -> Float[Tensor, "tokens codebook"]:
        size = 4 * context.shape[0] * 2**self.bits
        _require(2 * size, context.device, f"the logits of {context.shape[0]} tokens over 2^{self.bits}")
        return self.out(context).float()

    def _entries(self, bits: Bool[Tensor, "tokens bits"]) -> Int64[Tensor, " tokens"]:
        return (bits * self._place_values).sum(-1)

    def _bits(self, entries: Int64[Tensor, " tokens"]) -> Bool[Tensor, "tokens bits"]:
        return (entries[:, None] & self._place_values) != 0


def make_head(config: HeadConfig, *, bits: int) -> Head:
    match config.kind:
        case "masked_bit":
            return MaskedBitHead(bits, width=config.width, depth=config.depth)
        case "bit":
            return BitHead(bits, width=config.width)
        case "linear":
            return LinearHead(bits, width=config.width)


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


def _guide(logits: Float[Tensor, "twice *elements"], guidance: float) -> Float[Tensor, "batch *elements"]:
    conditional, unconditional = logits.float().chunk(2)
    return unconditional + guidance * (conditional - unconditional)


def _rank(scores: Float[Tensor, "*batch elements"]) -> Int64[Tensor, "*batch elements"]:
    """The place of each score among those of its row, the lowest at 0."""
    return scores.argsort(dim=-1, stable=True).argsort(dim=-1)


def _start(
    context: Float[Tensor, "batch width"], bits: int, known: Known | None
) -> tuple[Bool[Tensor, "batch bits"], Bool[Tensor, "batch bits"]]:
    """The bits before the first step, and which of them are still masked."""
    if known is not None:
        return known.bits & known.mask, ~known.mask
    shape = (context.shape[0], bits)
    return (
        torch.zeros(shape, dtype=torch.bool, device=context.device),
        torch.ones(shape, dtype=torch.bool, device=context.device),
    )


def _all_masked(bit_uniforms: Float[Tensor, "*tokens bits"]) -> BitMask:
    return BitMask(torch.ones_like(bit_uniforms, dtype=torch.bool), torch.ones_like(bit_uniforms[..., 0]))


def _bit_loss(
    logits: Float[Tensor, "tokens bits 2"],
    bits: Bool[Tensor, "tokens bits"],
    masked: BitMask,
    weights: Float[Tensor, "tokens bits"],
) -> Loss:
    logits = logits.float()
    losses = F.cross_entropy(logits.flatten(0, 1), bits.flatten().long(), reduction="none").view_as(weights)
    read = logits[..., 1] > logits[..., 0]
    return Loss((losses * weights).sum(), weights.sum(), *_count_correct(read == bits, masked))


def _count_correct(
    right: Bool[Tensor, "tokens bits"], masked: BitMask
) -> tuple[Float[Tensor, " buckets"], Float[Tensor, " buckets"]]:
    """How many masked bits were read right, and how many there were, by mask ratio in tenths."""
    bucket = (masked.ratio * NUM_RATIO_BUCKETS).ceil().long().clamp(1, NUM_RATIO_BUCKETS) - 1
    zeros = torch.zeros(NUM_RATIO_BUCKETS, device=right.device)
    correct = zeros.index_add(0, bucket, (right & masked.mask).sum(-1).float())
    return correct, zeros.index_add(0, bucket, masked.mask.sum(-1).float())


def _require(needed: int, device: torch.device, what: str) -> None:
    available = available_bytes(device)
    if needed > available:
        raise BadInput(
            f"{what} entries need {readable_bytes(needed)}, but {device} has {readable_bytes(available)} free: "
            "use the masked bit head, whose cost does not grow with the codebook"
        )
