"""The two heads that masked bit modelling is compared with (docs/method.md, section 6).

Both draw a token in one step and see none of its bits, so in training all bits count as masked.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from bar_model.errors import BadInput
from bar_model.heads.head import (
    BitMask,
    Contexts,
    DrawNoise,
    Head,
    KnownBits,
    Loss,
    TokenSampling,
    all_masked,
    bit_loss,
    count_correct,
    guide,
)
from bar_model.memory import available_bytes, readable_bytes
from bar_model.noise import gumbel


class BitHead(Head):
    """Draws all bits at once, each independent of the others given the context (Infinity, arXiv 2412.04431)."""

    def __init__(self, bits: int, *, width: int) -> None:
        super().__init__(bits)
        self.out = nn.Linear(width, 2 * bits)

    def forward(self, context: Float[Tensor, "tokens width"]) -> Float[Tensor, "tokens bits 2"]:
        """The logits of both values of every bit."""
        return self.out(context).unflatten(-1, (self.bits, 2))

    def training_mask(
        self, ratio_normals: Float[Tensor, "*tokens"], bit_uniforms: Float[Tensor, "*tokens bits"]
    ) -> BitMask:
        """All bits are masked."""
        return all_masked(bit_uniforms)

    def loss(self, context: Float[Tensor, "tokens width"], bits: Bool[Tensor, "tokens bits"], masked: BitMask) -> Loss:
        """The cross-entropy of all bits, each with weight 1."""
        return bit_loss(self(context), bits, masked, torch.ones_like(bits, dtype=torch.float32))

    def sample(
        self, contexts: Contexts, sampling: TokenSampling, *, noise: DrawNoise, known: KnownBits | None = None
    ) -> Bool[Tensor, "batch bits"]:
        """Draw one token for each row; known bits replace the drawn ones, on which no other bit depends."""
        logits = _guided(self, contexts, sampling.guidance)
        drawn = (logits + sampling.temperature * gumbel(noise(0, self.bits).values)).argmax(-1).bool()
        return drawn if known is None else torch.where(known.mask, known.bits, drawn)


class LinearHead(Head):
    """Draws from one softmax over the whole codebook of 2^bits entries.

    The index of an entry is its bits read as a binary number, the first bit the most significant. Weights and logits
    grow with the codebook, so sizes are checked before memory is taken.
    """

    _place_values: Int64[Tensor, " bits"]

    def __init__(self, bits: int, *, width: int) -> None:
        """Make the weights.

        Raises:
            BadInput: the weights do not fit into memory.
        """
        super().__init__(bits)
        _require(4 * (width + 1) * 2**bits, torch.get_default_device(), f"the weights of a linear head over 2^{bits}")
        self.out = nn.Linear(width, 2**bits)
        # On the CPU even where modules are built on the meta device, since no checkpoint holds it.
        self.register_buffer("_place_values", 2 ** torch.arange(bits - 1, -1, -1, device="cpu"), persistent=False)

    def training_mask(
        self, ratio_normals: Float[Tensor, "*tokens"], bit_uniforms: Float[Tensor, "*tokens bits"]
    ) -> BitMask:
        """All bits are masked."""
        return all_masked(bit_uniforms)

    def loss(self, context: Float[Tensor, "tokens width"], bits: Bool[Tensor, "tokens bits"], masked: BitMask) -> Loss:
        """The cross-entropy of the true entries, each token with weight 1; the counts are still of bits.

        Raises:
            BadInput: the logits do not fit into memory.
        """
        logits = self._logits(context)
        total = F.cross_entropy(logits, self._entries(bits), reduction="sum")
        read = self._bits(logits.argmax(-1))
        return Loss(total, total.new_tensor(bits.shape[0]), *count_correct(read == bits, masked))

    def sample(
        self, contexts: Contexts, sampling: TokenSampling, *, noise: DrawNoise, known: KnownBits | None = None
    ) -> Bool[Tensor, "batch bits"]:
        """Draw one entry for each row; known bits leave only the entries that agree with them.

        Raises:
            BadInput: the logits do not fit into memory.
        """
        logits = _guided(self._logits, contexts, sampling.guidance)
        if known is not None:
            codebook = self._bits(torch.arange(2**self.bits, device=logits.device))
            agrees = (codebook == known.bits[:, None]) | ~known.mask[:, None]
            logits = logits.masked_fill(~agrees.all(-1), -torch.inf)
        scores = logits + sampling.temperature * gumbel(noise(0, 2**self.bits).values[..., 0])
        return self._bits(scores.argmax(-1))

    def noise_shape(self, allocation: Sequence[int]) -> tuple[int, int]:
        """One step, with one element for each entry of the codebook."""
        return 1, 2**self.bits

    def _logits(self, context: Float[Tensor, "tokens width"]) -> Float[Tensor, "tokens codebook"]:
        # Twice: the layer's own output, and its copy in float32 or its softmax.
        size = 4 * context.shape[0] * 2**self.bits
        _require(2 * size, context.device, f"the logits of {context.shape[0]} tokens over 2^{self.bits}")
        return self.out(context).float()

    def _entries(self, bits: Bool[Tensor, "tokens bits"]) -> Int64[Tensor, " tokens"]:
        return (bits * self._place_values).sum(-1)

    def _bits(self, entries: Int64[Tensor, " tokens"]) -> Bool[Tensor, "tokens bits"]:
        return (entries[:, None] & self._place_values) != 0


def _guided(
    logits_of: Callable[[Float[Tensor, "batch width"]], Tensor], contexts: Contexts, guidance: float
) -> Float[Tensor, "batch *elements"]:
    logits = logits_of(contexts.conditional).float()
    if contexts.unconditional is None:
        return logits
    return guide(torch.cat((logits, logits_of(contexts.unconditional).float())), guidance)


def _require(needed: int, device: torch.device, what: str) -> None:
    available = available_bytes(device)
    if needed > available:
        raise BadInput(
            f"{what} entries need {readable_bytes(needed)}, but {device} has {readable_bytes(available)} free: "
            "use the masked bit head, whose cost does not grow with the codebook"
        )
