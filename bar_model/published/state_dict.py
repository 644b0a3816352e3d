"""The keys and shapes of a state dict, and whether they are the expected ones."""

from collections.abc import Collection, Mapping

from torch import Tensor

from bar_model.errors import BadInput

Shapes = dict[str, tuple[int, ...]]

_NAMED_AT_MOST = 4


def tensor_shapes(state: Mapping[str, Tensor]) -> Shapes:
    """The shape of each tensor of a state dict."""
    return {key: tuple(tensor.shape) for key, tensor in state.items()}


def require_shapes(found: Shapes, expected: Shapes, what: str) -> None:
    """Check that the keys and shapes are those of `what`, the nearest configuration.

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
        raise BadInput(f"checkpoint does not fit {what}, the nearest: " + "; ".join(problems))


def _some(keys: Collection[str]) -> str:
    return ", ".join(sorted(keys)[:_NAMED_AT_MOST]) + (", …" if len(keys) > _NAMED_AT_MOST else "")
