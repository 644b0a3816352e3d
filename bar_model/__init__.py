"""BAR and BAR-FSQ (arXiv 2602.09024) in plain PyTorch."""

from bar_model.checkpoint import load as load

__all__ = ["load"]
