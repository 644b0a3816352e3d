"""FSDP: a model's weights, gradients and optimizer state are spread over the ranks, and gathered block by block."""

from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from bar_model.blocks import blocks_of

Model = TypeVar("Model", bound=nn.Module)


def shard(model: nn.Module, *, entry: str) -> None:
    """In place; all ranks hold the same weights before. `entry`: the method by which the model is called in training.

    Weights travel as they are kept, in float32, so that the losses are those of whole copies.
    """
    for part in (*blocks_of(model), model):
        fully_shard(part, reshard_after_forward=True)
    register_fsdp_forward_method(model, entry)


def whole(model: Model) -> Model:
    """The model with all of its weights: itself, or a copy where they are spread; all ranks have to ask together."""
    if not isinstance(model, FSDPModule):
        return model
    make: Any = type(model)
    with torch.device("meta"):
        copy = make(model.config)
    for name, tensor in {**model.state_dict(), **dict(model.named_buffers())}.items():
        place, _, leaf = name.rpartition(".")
        there, value = copy.get_submodule(place), whole_tensor(tensor)
        setattr(there, leaf, nn.Parameter(value, requires_grad=False) if leaf in there._parameters else value)
    return copy


def own_part(tensor: Tensor) -> Tensor:
    """What this rank holds of it, in the same memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole_tensor(tensor: Tensor) -> Tensor:
    """All ranks have to ask together."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
