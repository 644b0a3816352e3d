"""How the blocks of a model are computed in training: compiled or not, their activations kept or recomputed."""

import os
import shutil

from torch import nn

from bar_model.errors import BadInput
from bar_model.torch_private import recompute_in_backward, split_no_graph_for_ddp


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """All modules in the lists of layers of a model, in order."""
    return [block for part in model.modules() if isinstance(part, nn.ModuleList) for block in part]


def arrange_blocks(model: nn.Module, *, compiled: bool, recompute: bool) -> None:
    """Change in place how the blocks of a model are computed; copies of the model are made unchanged.

    Compiled blocks give results that differ by rounding. Recomputed blocks keep only their input in the forward pass
    and run forward once more in the backward pass. They give the same numbers, for a third more arithmetic and a
    fraction of the memory.

    Raises:
        BadInput: blocks are to be compiled, and this machine has no C++ compiler.
    """
    if compiled:
        check_compiler()
        split_no_graph_for_ddp()
    for block in blocks_of(model):
        if compiled:
            block.compile()
        if recompute:
            # After compiling, so that the compiled block is what is run twice.
            recompute_in_backward(block)


def check_compiler() -> None:
    """Check that there is a C++ compiler. torch.compile needs one on GPUs, too, where it starts Triton's kernels.

    Raises:
        BadInput: this machine has none.
    """
    names = (os.environ.get("CXX", "g++"), "clang++")
    if not any(map(shutil.which, names)):
        raise BadInput(
            f"workers.compiled: no C++ compiler found ({', '.join(names)}): install one, or train without it"
        )
