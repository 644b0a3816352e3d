"""The interface of a head: from the context of a token to its bits, in training and in sampling.

The transformer makes one context for each generator token. A head turns it into the token's K bits. The paper compares
three heads (docs/method.md, sections 4 and 6); they share this interface, the loss of bits and the guidance.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from bar_model.noise import StepNoise

NUM_RATIO_BUCKETS = 10
"""Into how many ranges of the mask ratio the counts of `Loss` are divided."""


class KnownBits(NamedTuple):
    """Bits that are given: where `mask` is true, the drawn bits are these `bits`."""

    bits: Bool[Tensor, "*batch bits"]
    mask: Bool[Tensor, "*batch bits"]


class BitMask(NamedTuple):
    """The bits of a token that are hidden from the head, and the mask ratio r that it receives as an input."""

    mask: Bool[Tensor, "*tokens bits"]
    ratio: Float[Tensor, "*tokens"]


class Loss(NamedTuple):
    """A weighted sum of cross-entropies and the sum of its weights; the loss of a step is their quotient.

    They are kept apart so that micro-batches and ranks can be added up before the division. The loss of a step then
    does not depend on how its rows were divided.

    `counted` is the number of masked bits, and `correct` how many of them have the more likely value; both by mask
    ratio in tenths.
    """

    total: Float[Tensor, ""]
    weight: Float[Tensor, ""]
    correct: Float[Tensor, " buckets"]
    counted: Float[Tensor, " buckets"]


class Contexts(NamedTuple):
    """The input of drawing a token: the context of its class and, with guidance, that of the dropped class."""

    conditional: Float[Tensor, "batch width"]
    unconditional: Float[Tensor, "batch width"] | None = None


class TokenSampling(NamedTuple):
    """How a token is drawn: the guidance scale, the temperature, and how many bits each unmasking step decides."""

    guidance: float
    temperature: float
    allocation: tuple[int, ...]


DrawNoise = Callable[[int, int], StepNoise]
"""(unmasking step, number of elements) -> the uniforms of that step."""


class Head(nn.Module, ABC):
    """The module that turns the context of a token into its bits; `bits` is how many a token has."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits

    @abstractmethod
    def training_mask(
        self, ratio_normals: Float[Tensor, "*tokens"], bit_uniforms: Float[Tensor, "*tokens bits"]
    ) -> BitMask:
        """The bits to hide in training, as a function of standard normals and uniforms."""

    @abstractmethod
    def loss(self, context: Float[Tensor, "tokens width"], bits: Bool[Tensor, "tokens bits"], masked: BitMask) -> Loss:
        """The loss of these tokens; `bits` are the true ones, of which the head sees those that are not masked."""

    @abstractmethod
    def sample(
        self, contexts: Contexts, sampling: TokenSampling, *, noise: DrawNoise, known: KnownBits | None = None
    ) -> Bool[Tensor, "batch bits"]:
        """Draw one token for each row; known bits keep their values."""

    def noise_shape(self, allocation: Sequence[int]) -> tuple[int, int]:
        """The number of unmasking steps of a token that need noise, and the number of elements of each step."""
        return 1, self.bits

    def check_allocation(self, allocation: Sequence[int]) -> None:
        """Check that this head can follow the allocation. By default it can follow any.

        Raises:
            BadInput: it can't.
        """


def guide(logits: Float[Tensor, "twice *elements"], guidance: float) -> Float[Tensor, "batch *elements"]:
    """Guided logits u + guidance · (c − u), in float32; the first half of `logits` is c, the second half is u.

    Scale 1 gives c, the logits of the class. A larger scale moves away from what images of all classes have in common.
    """
    conditional, unconditional = logits.float().chunk(2)
    return unconditional + guidance * (conditional - unconditional)


def all_masked(bit_uniforms: Float[Tensor, "*tokens bits"]) -> BitMask:
    """The mask of the heads that see no bit of the token: all bits are masked, the ratio is 1."""
    return BitMask(torch.ones_like(bit_uniforms, dtype=torch.bool), torch.ones_like(bit_uniforms[..., 0]))


def bit_loss(
    logits: Float[Tensor, "tokens bits 2"],
    bits: Bool[Tensor, "tokens bits"],
    masked: BitMask,
    weights: Float[Tensor, "tokens bits"],
) -> Loss:
    """The cross-entropy of each bit, weighted and summed, in float32 whatever the precision around it."""
    logits = logits.float()
    losses = F.cross_entropy(logits.flatten(0, 1), bits.flatten().long(), reduction="none").view_as(weights)
    read = logits[..., 1] > logits[..., 0]
    return Loss((losses * weights).sum(), weights.sum(), *count_correct(read == bits, masked))


def count_correct(
    right: Bool[Tensor, "tokens bits"], masked: BitMask
) -> tuple[Float[Tensor, " buckets"], Float[Tensor, " buckets"]]:
    """How many masked bits are right, and how many masked bits there are, by mask ratio in tenths."""
    # The ranges are (0, 0.1], (0.1, 0.2] and so on, hence the rounding up.
    bucket = (masked.ratio * NUM_RATIO_BUCKETS).ceil().long().clamp(1, NUM_RATIO_BUCKETS) - 1
    zeros = torch.zeros(NUM_RATIO_BUCKETS, device=right.device)
    correct = zeros.index_add(0, bucket, (right & masked.mask).sum(-1).float())
    return correct, zeros.index_add(0, bucket, masked.mask.sum(-1).float())
