"""BAR in PyTorch alone: images as sequences of bits (arXiv 2602.09024)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bar_model.checkpoint import load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    """`bar_model.load`, without PyTorch for those who only count bits or move files."""
    if name == "load":
        from bar_model.checkpoint import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
