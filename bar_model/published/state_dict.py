"""The keys, shapes and values of a state dict, and whether they can be used."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from bar_model.errors import BadInput

Shapes = dict[str, tuple[int, ...]]

_NAMED_AT_MOST = 4
_FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def tensor_shapes(state: Mapping[str, Tensor]) -> Shapes:
    """The shape of each tensor of a state dict."""
    return {key: tuple(tensor.shape) for key, tensor in state.items()}


def usable_weight(name: str, tensor: Tensor, where: object) -> Tensor:
    """A weight of the file `where` as models keep it: float32, also where it was stored in fewer or more bits.

    Raises:
        BadInput: it holds no fractions, or some that are not finite, as a diverged training leaves them.
    """
    if tensor.layout != torch.strided or tensor.dtype not in _FLOATS:
        kind = "sparse" if tensor.layout != torch.strided else str(tensor.dtype).removeprefix("torch.")
        raise BadInput(f"{where}: {name} is {kind}, but weights are float32, bfloat16, float16 or float64")
    weight = tensor.float()
    if not weight.isfinite().all():
        raise BadInput(f"{where}: {name} holds NaN or infinity, so nothing can be computed with it: give another model")
    return weight


def require_shapes(found: Shapes, expected: Shapes, what: str) -> None:
    """Check that the keys and shapes are those of `what`.

    Raises:
        BadInput: a key is missing, unexpected or of another shape; the message names them.
    """
    wrong = {
        "missing": expected.keys() - found.keys(),
        "unexpected": found.keys() - expected.keys(),
        "of another shape": {
            f"{key} {found[key]} instead of {expected[key]}"
            for key in found.keys() & expected.keys()
            if found[key] != expected[key]
        },
    }
    problems = [f"{len(keys)} {kind}: {_some(keys)}" for kind, keys in wrong.items() if keys]
    if problems:
        raise BadInput(f"does not fit {what}: " + "; ".join(problems))


def _some(keys: Collection[str]) -> str:
    return ", ".join(sorted(keys)[:_NAMED_AT_MOST]) + (", …" if len(keys) > _NAMED_AT_MOST else "")
