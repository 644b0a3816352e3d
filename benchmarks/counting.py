"""What an image costs (docs/method.md, section 8), and what this machine gives: operations and bytes a second."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from bar_model.generator.bar import Bar, BarConfig
from bar_model.operations import decoding_operations, earlier_slots, linear_weights, sequence_operations
from bar_model.tokenizer.tokenizer import TokenizerConfig


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Operations and bytes of an image; `weights` are the bytes of one batch, read for all its images together."""

    operations: float
    cache: float
    weights: float

    def seconds(self, ceilings: "Ceilings", batch: int) -> float:
        """If arithmetic and reading did not overlap."""
        read = self.cache + self.weights / batch
        return self.operations / ceilings.operations_a_second + read / ceilings.bytes_a_second


@dataclass(frozen=True, kw_only=True)
class Ceilings:
    """Measured: products of large matrices, and a copy of a large tensor (both read and written bytes count)."""

    operations_a_second: float
    bytes_a_second: float


def cost(config: BarConfig, tokenizer: TokenizerConfig | None, *, itemsize: int) -> Cost:
    """With guidance, and decoding if a tokenizer is given; saved work still counts, work done twice does not."""
    with torch.device("meta"):
        bar = Bar(config)
    transformer, num_tokens, steps = bar.transformer, bar.transformer.num_tokens, len(config.sampling.allocation)
    a_branch = sequence_operations(bar, steps=steps)
    cached = 2 * config.transformer.width * config.transformer.depth * earlier_slots(bar)
    each_token = linear_weights(transformer) + steps * linear_weights(bar.head)
    return Cost(
        operations=2 * a_branch + (0 if tokenizer is None else decoding_operations(tokenizer)),
        cache=2 * cached * itemsize,
        weights=num_tokens * each_token * itemsize,
    )


def ceilings(device: torch.device, dtype: torch.dtype) -> Ceilings:
    size, num_bytes = (8192, 2**32) if device.type == "cuda" else (2048, 2**29)
    matrix = torch.randn(size, size, device=device).to(dtype)
    data = torch.ones(num_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(data)
    return Ceilings(
        operations_a_second=2 * size**3 / seconds(lambda: matrix @ matrix, device),
        bytes_a_second=2 * num_bytes / seconds(lambda: target.copy_(data), device),
    )


def seconds(work: Callable[[], object], device: torch.device, *, repeats: int = 5) -> float:
    """The median after one that does not count."""
    times = []
    for turn in range(repeats + 1):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if turn:
            times.append(time.perf_counter() - began)
    return statistics.median(times)
