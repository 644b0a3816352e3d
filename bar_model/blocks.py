"""How the repeated blocks of a model are computed in training: compiled one by one, their activations kept or not."""

import os
import shutil

from torch import nn

from bar_model.errors import BadInput
from bar_model.torch_private import recompute_in_backward, split_no_graph_for_ddp


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """Those of a model's lists of layers."""
    return [block for part in model.modules() if isinstance(part, nn.ModuleList) for block in part]


def arrange_blocks(model: nn.Module, *, compiled: bool, recompute: bool) -> None:
    """In place; copies of the model are as it was.

    Compiled blocks differ by rounding. Recomputed ones keep their input alone and run forward once more on the way
    back: the same numbers for a third more arithmetic and a fraction of the memory.

    Raises:
        BadInput: there is no compiler to compile with.
    """
    if compiled:
        check_compiler()
        split_no_graph_for_ddp()
    for block in blocks_of(model):
        if compiled:
            block.compile()
        if recompute:
            # Around what is compiled.
            recompute_in_backward(block)


def check_compiler() -> None:
    """Raises: BadInput: this machine has no C++ compiler, which Triton's kernels, too, want."""
    names = (os.environ.get("CXX", "g++"), "clang++")
    if not any(map(shutil.which, names)):
        raise BadInput(
            f"workers.compiled: no C++ compiler found ({', '.join(names)}): install one, or train without it"
        )
