"""The keys and shapes of the published files, and state dicts of them that take no memory."""

import json

import torch
from torch import Tensor

from tests.harness.repository import GOLDEN

UPSTREAM = json.loads((GOLDEN / "upstream_keys.json").read_text())


def empty_state(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Tensors of these shapes that take no memory."""
    return {key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}
