"""What an image costs (method.md, section 8), and what this machine gives: operations and bytes a second."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from bar_model.bar import BarConfig
from bar_model.tokenizer import TokenizerConfig


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
    transformer, head, num_tokens = config.transformer, config.head, config.grid**2
    width, slots, steps = transformer.width, transformer.prefix + num_tokens - 1, len(config.sampling.allocation)
    earlier_slots = slots * (slots - 1) // 2
    block = 4 * width**2 + 3 * width * int(2 / 3 * 4 * width) + 6 * width**2
    ends = width * (head.width + -(-width // config.token_bits) * config.token_bits)
    head_block = 3 * head.width * int(2 / 3 * 4 * head.width) + 3 * head.width**2
    embeddings = head.width * (-(-head.width // config.token_bits) * config.token_bits + 512 + head.width)
    head_weights = head.depth * head_block + embeddings + 2 * head.width**2 + 2 * head.width * config.token_bits
    a_branch = (
        2 * slots * transformer.depth * block
        + 2 * num_tokens * ends
        + 4 * width * transformer.depth * earlier_slots
        + 2 * num_tokens * steps * head_weights
    )
    return Cost(
        operations=2 * a_branch + (0 if tokenizer is None else decoding_operations(tokenizer)),
        cache=2 * 2 * width * transformer.depth * earlier_slots * itemsize,
        weights=num_tokens * (transformer.depth * block + ends + steps * head_weights) * itemsize,
    )


def decoding_operations(config: TokenizerConfig) -> float:
    width, tokens = config.decoder.width, config.codes.num_tokens
    blocks = config.decoder.depth * (2 * (tokens + 1) * 12 * width**2 + 4 * width * (tokens + 1) ** 2)
    ends = 2 * tokens * width * (config.bits + 3 * config.patch**2) + 2 * 81 * config.image_size**2
    return blocks + ends


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
