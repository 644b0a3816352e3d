"""Heads small enough to be enumerated, and tokens drawn from them."""

import torch

from bar_model.heads.head import Contexts, Head, KnownBits, TokenSampling
from bar_model.heads.make_head import HeadConfig, make_head
from bar_model.noise import CounterNoise

WIDTH = 16


def head_of(kind: str, bits: int, *, scale: float = 0.5) -> Head:
    head = make_head(HeadConfig(kind=kind, width=WIDTH, depth=1), bits=bits).eval()  # pyright: ignore[reportArgumentType]
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_(0, scale, generator=generator)
    return head


@torch.no_grad()
def draw_tokens(
    head: Head,
    count: int,
    *,
    allocation: tuple[int, ...],
    temperature: float = 1.0,
    guidance: float | None = None,
    known: KnownBits | None = None,
) -> torch.Tensor:
    noise = CounterNoise(0, torch.arange(count))
    context = torch.linspace(-1, 1, WIDTH).expand(count, -1)
    return head.sample(
        Contexts(context, None if guidance is None else -context),
        TokenSampling(guidance or 1.0, temperature, allocation),
        noise=lambda step, elements: noise.draw(0, step, elements),
        known=known,
    )
