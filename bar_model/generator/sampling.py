"""How an image is drawn: the settings, the orders, and the plain sampler (docs/method.md, section 4).

The plain sampler is short and not fast. It defines the result: the engine must draw the same tokens.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from bar_model.errors import BadInput
from bar_model.generator.transformer import Transformer
from bar_model.heads.head import Contexts, Head, KnownBits, TokenSampling
from bar_model.noise import SamplingNoise, Stream, uniforms
from bar_model.ranges import Range, check_ranges

GuidanceScale = Annotated[float, Range(least=1, most=1e6)]
"""How much stronger the class counts than without guidance, which is 1."""
Temperature = Annotated[float, Range(least=0, most=1e6)]
"""How random bits are drawn; 0 takes the likelier one."""
StepBits = Annotated[int, Range(least=1, most=2**12)]
"""The bits that one unmasking step decides."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """The settings of drawing.

    `guidance_scale` 1 draws without guidance. With the "linear" schedule the scale grows over the image from 1 towards
    `guidance_scale`; with "constant" it is the same for all tokens. `allocation` is the number of bits that each
    unmasking step decides; heads that draw all bits at once ignore it.
    """

    guidance_scale: GuidanceScale
    temperature: Temperature
    allocation: tuple[StepBits, ...]
    guidance_schedule: Literal["linear", "constant"] = "linear"
    order: Literal["raster", "random"] = "raster"

    def __post_init__(self) -> None:
        check_ranges(self)
        if not self.allocation:
            raise BadInput(f"allocation {self.allocation}: every unmasking step must decide at least one bit")

    @property
    def guided(self) -> bool:
        """Whether drawing needs the dropped class as a second condition."""
        return self.guidance_scale != 1

    def guidance_at(self, token: int, num_tokens: int) -> float:
        """The guidance scale of the token at this place of the order: 1 + (scale − 1) · token/num_tokens if linear.

        The later tokens follow the first ones. These are drawn with little guidance, so that they stay diverse.
        """
        if self.guidance_schedule == "constant":
            return self.guidance_scale
        return 1 + (self.guidance_scale - 1) * token / num_tokens


def raster_order(batch: int, num_tokens: int, device: torch.device) -> Int64[Tensor, "batch tokens"]:
    """The raster order, once for each image."""
    return torch.arange(num_tokens, device=device).expand(batch, -1)


def random_order(seed: int, images: Int64[Tensor, " batch"], num_tokens: int) -> Int64[Tensor, "batch tokens"]:
    """A uniformly random order of the tokens for each image, a function of (seed, image index)."""
    zero = torch.zeros((), dtype=torch.int64, device=images.device)
    tokens = torch.arange(num_tokens, device=images.device)
    image = images[:, None]
    # Sorting independent uniforms gives every permutation the same probability.
    return uniforms(seed, Stream.SAMPLING_ORDER, image & 0xFFFFFFFF, image >> 32, zero, tokens).a.argsort(dim=-1)


@dataclass(frozen=True, kw_only=True)
class Request:
    """A batch to draw, one image in each row; `order` lists raster positions, and `known` is in raster order."""

    classes: Int64[Tensor, " batch"]
    dropped_class: int
    order: Int64[Tensor, "batch tokens"]
    sampling: Sampling
    noise: SamplingNoise
    known: KnownBits | None = None

    def of_rows(self, rows: Int64[Tensor, " some"]) -> "Request":
        """The request for some images of the batch."""
        return replace(
            self,
            classes=self.classes[rows],
            order=self.order[rows],
            noise=self.noise.of_rows(rows),
            known=None if self.known is None else KnownBits(*(part[rows] for part in self.known)),
        )

    def doubled(self) -> tuple[Int64[Tensor, " rows"], Int64[Tensor, "rows tokens"]]:
        """Class and order of each row of the transformer: with guidance, all images again with the dropped class."""
        if not self.sampling.guided:
            return self.classes, self.order
        dropped = torch.full_like(self.classes, self.dropped_class)
        return torch.cat((self.classes, dropped)), torch.cat((self.order, self.order))


@torch.no_grad()
def draw(transformer: Transformer, head: Head, request: Request) -> Bool[Tensor, "batch tokens bits"]:
    """Draw the generator's tokens one after the other; the result is in raster order."""
    batch, num_tokens = request.order.shape
    drawn = torch.zeros(batch, num_tokens, head.bits, dtype=torch.bool, device=request.order.device)
    contexts, state = transformer.prefill(*request.doubled())
    for token in range(num_tokens):
        bits = draw_token(token, head, contexts, request, drawn)
        if token < num_tokens - 1:
            contexts = transformer.decode(bits, state)
    return drawn


def draw_token(
    token: int,
    head: Head,
    contexts: Float[Tensor, "rows context_width"],
    request: Request,
    drawn: Bool[Tensor, "batch tokens bits"],
) -> Bool[Tensor, "rows bits"]:
    """Draw the token at this place of the order, write it into `drawn`, and give its bits for each transformer row.

    With guidance the rows of the dropped class continue with the same bits: both conditions see the same image.
    """
    sampling, known = request.sampling, request.known
    batch, num_tokens = request.order.shape
    rows, place = torch.arange(batch, device=contexts.device), request.order[:, token]
    bits = head.sample(
        Contexts(contexts[:batch], contexts[batch:] if sampling.guided else None),
        TokenSampling(sampling.guidance_at(token, num_tokens), sampling.temperature, sampling.allocation),
        noise=lambda step, count: request.noise.draw(token, step, count),
        known=None if known is None else KnownBits(known.bits[rows, place], known.mask[rows, place]),
    )
    drawn[rows, place] = bits
    return torch.cat((bits, bits)) if sampling.guided else bits
