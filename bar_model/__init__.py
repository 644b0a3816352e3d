"""BAR in PyTorch alone: images as sequences of bits (arXiv 2602.09024; docs/method.md).

What stands here takes tensors and local files. It knows no cluster, no tracking server and no object store: those are
`pipeline`. Begin with `generator/bar.py` (the model) and `heads/masked_bit.py` (its head); `presets.py` has the
published sizes.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bar_model.checkpoint import load
    from bar_model.engine.engine import Engine
    from bar_model.generator.sampling import Sampling

__all__ = ["Engine", "Sampling", "load"]


def __getattr__(name: str) -> Any:
    """Import what a notebook needs at its first use, so that counting bits or moving files loads no PyTorch."""
    if name == "load":
        from bar_model.checkpoint import load

        return load
    if name == "Engine":
        from bar_model.engine.engine import Engine

        return Engine
    if name == "Sampling":
        from bar_model.generator.sampling import Sampling

        return Sampling
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
