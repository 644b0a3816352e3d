"""FSDP: weights, gradients and optimizer state of a model are sharded over the ranks, and gathered block by block."""

from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from bar_model.blocks import blocks_of

Model = TypeVar("Model", bound=nn.Module)


def shard(model: nn.Module, *, entry: str) -> None:
    """Shards a model in place over all ranks, which hold the same weights before.

    `entry` names the method by which the model is called in training. Weights are gathered in float32, as they are
    kept, so that the losses are those of whole copies.
    """
    for part in (*blocks_of(model), model):
        fully_shard(part, reshard_after_forward=True)
    register_fsdp_forward_method(model, entry)


def whole(model: Model) -> Model:
    """The model with all of its weights: itself, or a whole copy of a sharded one; all ranks call it together."""
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
    """The part of a tensor that this rank holds, in the same memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole_tensor(tensor: Tensor) -> Tensor:
    """A tensor with all of its values, gathered where it is sharded; all ranks have to call it together."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
