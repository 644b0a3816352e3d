"""What a head is: from the context of a token to its bits, in training and in sampling (docs/method.md, section 4)."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from bar_model.noise import StepNoise

NUM_RATIO_BUCKETS = 10


class KnownBits(NamedTuple):
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


class Contexts(NamedTuple):
    """What a token is drawn from: its class's context and, with guidance, the dropped class's."""

    conditional: Float[Tensor, "batch width"]
    unconditional: Float[Tensor, "batch width"] | None = None


class TokenSampling(NamedTuple):
    """How a token is drawn: with `unconditional` contexts its logits are guided, u + guidance · (c − u)."""

    guidance: float
    temperature: float
    allocation: tuple[int, ...]


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
        self, contexts: Contexts, sampling: TokenSampling, *, noise: DrawNoise, known: KnownBits | None = None
    ) -> Bool[Tensor, "batch bits"]:
        """Draw a token. `noise(step, count)` gives the uniforms of an unmasking step for `count` elements."""

    def noise_shape(self, allocation: Sequence[int]) -> tuple[int, int]:
        """The unmasking steps of a token, and the elements of each, for which noise is drawn."""
        return 1, self.bits

    def check_allocation(self, allocation: Sequence[int]) -> None:
        """Refuse an allocation that this head can't follow."""


def guide(logits: Float[Tensor, "twice *elements"], guidance: float) -> Float[Tensor, "batch *elements"]:
    conditional, unconditional = logits.float().chunk(2)
    return unconditional + guidance * (conditional - unconditional)


def all_masked(bit_uniforms: Float[Tensor, "*tokens bits"]) -> BitMask:
    return BitMask(torch.ones_like(bit_uniforms, dtype=torch.bool), torch.ones_like(bit_uniforms[..., 0]))


def bit_loss(
    logits: Float[Tensor, "tokens bits 2"],
    bits: Bool[Tensor, "tokens bits"],
    masked: BitMask,
    weights: Float[Tensor, "tokens bits"],
) -> Loss:
    logits = logits.float()
    losses = F.cross_entropy(logits.flatten(0, 1), bits.flatten().long(), reduction="none").view_as(weights)
    read = logits[..., 1] > logits[..., 0]
    return Loss((losses * weights).sum(), weights.sum(), *count_correct(read == bits, masked))


def count_correct(
    right: Bool[Tensor, "tokens bits"], masked: BitMask
) -> tuple[Float[Tensor, " buckets"], Float[Tensor, " buckets"]]:
    """How many masked bits were read right, and how many there were, by mask ratio in tenths."""
    bucket = (masked.ratio * NUM_RATIO_BUCKETS).ceil().long().clamp(1, NUM_RATIO_BUCKETS) - 1
    zeros = torch.zeros(NUM_RATIO_BUCKETS, device=right.device)
    correct = zeros.index_add(0, bucket, (right & masked.mask).sum(-1).float())
    return correct, zeros.index_add(0, bucket, masked.mask.sum(-1).float())
