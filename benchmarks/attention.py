"""Milliseconds of causal attention, forward and back, on this machine's CPU: torch's fused kernel and plain products.

    python benchmarks/attention.py

In bfloat16, of one layer: the rows and slots of a step of digits, bar-b-patch4 and bar-s as `training_step.py` runs it.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from bar_model.generator.attention import QueryKeyValue, attend_causally

SHAPES = {"digits": (32, 4, 18, 24), "bar-b-patch4": (8, 12, 48, 64), "bar-s": (4, 6, 288, 64)}
"""Rows, heads, slots, width of a head."""


def main() -> None:
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for name, shape in SHAPES.items():
        heads = QueryKeyValue(*(torch.randn(shape, dtype=torch.bfloat16, requires_grad=True) for _ in range(3)))
        fused = milliseconds(partial(F.scaled_dot_product_attention, *heads, is_causal=True), heads)
        products = milliseconds(partial(attend_causally, heads), heads)
        print(f"{name:14} fused {fused:6.2f} ms, products {products:6.2f} ms: {fused / products:.1f} times")


def milliseconds(attend: Callable[[], Tensor], heads: QueryKeyValue, *, repeats: int = 15) -> float:
    """The median after three that do not count."""
    towards, found = torch.randn_like(heads.values), []
    for _ in range(repeats + 3):
        began = time.perf_counter()
        torch.autograd.grad(attend(), tuple(heads), towards)
        found.append(1000 * (time.perf_counter() - began))
    return statistics.median(found[3:])


if __name__ == "__main__":
    main()
