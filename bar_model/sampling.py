"""How an image is drawn: guidance and unmasking schedules, and the plain sampler that defines what is right."""

from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from bar_model.errors import BadInput
from bar_model.head import Contexts, Head, Known, TokenSampling
from bar_model.noise import SamplingNoise, Stream, uniforms


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Settings of a drawing.

    `guidance_scale` 1 draws without guidance. With the "linear" schedule the scale grows over the image from 1 to
    `guidance_scale`, with "constant" it does not. `allocation` is the number of bits that each unmasking step decides;
    heads that draw all bits at once ignore it.
    """

    guidance_scale: float
    temperature: float
    allocation: tuple[int, ...]
    guidance_schedule: Literal["linear", "constant"] = "linear"
    order: Literal["raster", "random"] = "raster"

    def __post_init__(self) -> None:
        if self.guidance_scale < 1:
            raise BadInput(f"guidance_scale {self.guidance_scale}: must be at least 1, which means no guidance")
        if self.temperature < 0:
            raise BadInput(f"temperature {self.temperature}: must not be negative")
        if not self.allocation or min(self.allocation) < 1:
            raise BadInput(f"allocation {self.allocation}: every unmasking step must decide at least one bit")

    @property
    def guided(self) -> bool:
        return self.guidance_scale != 1

    def guidance_at(self, token: int, num_tokens: int) -> float:
        """The guidance scale of the generator token at this place of the order."""
        if self.guidance_schedule == "constant":
            return self.guidance_scale
        return 1 + (self.guidance_scale - 1) * token / num_tokens


@runtime_checkable
class Decoder(Protocol):
    """What gives the context of one token after another: the transformer, or what stands for it."""

    def prefill(
        self, classes: Int64[Tensor, " rows"], order: Int64[Tensor, "rows tokens"]
    ) -> tuple[Float[Tensor, "rows context_width"], Any]:
        """The context of the first token, and the state from which `decode` goes on."""
        ...

    def decode(self, token: Bool[Tensor, "rows bits"], state: Any) -> Float[Tensor, "rows context_width"]:
        """Append the token just drawn; the context of the one after it."""
        ...


def raster_order(batch: int, num_tokens: int, device: torch.device) -> Int64[Tensor, "batch tokens"]:
    return torch.arange(num_tokens, device=device).expand(batch, -1)


def random_order(seed: int, images: Int64[Tensor, " batch"], num_tokens: int) -> Int64[Tensor, "batch tokens"]:
    """A uniformly random generation order for each image, a function of (seed, image index)."""
    zero = torch.zeros((), dtype=torch.int64, device=images.device)
    tokens = torch.arange(num_tokens, device=images.device)
    image = images[:, None]
    return uniforms(seed, Stream.SAMPLING_ORDER, image & 0xFFFFFFFF, image >> 32, zero, tokens).a.argsort(dim=-1)


@torch.no_grad()
def draw(
    decoder: Decoder,
    head: Head,
    classes: Int64[Tensor, " batch"],
    *,
    dropped_class: int,
    sampling: Sampling,
    noise: SamplingNoise,
    order: Int64[Tensor, "batch tokens"],
    known: Known | None = None,
) -> Bool[Tensor, "batch tokens bits"]:
    """Draw the generator's tokens one by one; they and `known` are in raster order.

    With guidance the batch is doubled: the second half sees the dropped class.
    """
    batch, num_tokens = order.shape
    guided_classes, guided_order = classes, order
    if sampling.guided:
        guided_classes = torch.cat((classes, torch.full_like(classes, dropped_class)))
        guided_order = torch.cat((order, order))
    rows = torch.arange(batch, device=order.device)
    drawn = torch.zeros(batch, num_tokens, head.bits, dtype=torch.bool, device=order.device)
    contexts, state = decoder.prefill(guided_classes, guided_order)
    for token in range(num_tokens):
        place = order[:, token]
        bits = head.sample(
            Contexts(contexts[:batch], contexts[batch:] if sampling.guided else None),
            TokenSampling(sampling.guidance_at(token, num_tokens), sampling.temperature, sampling.allocation),
            noise=lambda step, count, token=token: noise.draw(token, step, count),
            known=None if known is None else Known(known.bits[rows, place], known.mask[rows, place]),
        )
        drawn[rows, place] = bits
        if token < num_tokens - 1:
            contexts = decoder.decode(torch.cat((bits, bits)) if sampling.guided else bits, state)
    return drawn
