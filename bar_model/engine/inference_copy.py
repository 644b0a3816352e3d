"""Copies of modules that are made for drawing: in a fast type, their weights packed on CPUs."""

import copy
from typing import TypeVar

import torch
from torch import nn

from bar_model.engine.packed_linear import can_pack, pack

_Module = TypeVar("_Module", bound=nn.Module)


def best_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 if the device multiplies in it, otherwise float32."""
    native = torch.cuda.is_bf16_supported() if device.type == "cuda" else can_pack(torch.bfloat16)
    return torch.bfloat16 if native else torch.float32


def inference_copy(
    module: _Module, dtype: torch.dtype, device: torch.device, *, packed: bool = True
) -> tuple[_Module, torch.autocast]:
    """A copy whose linear layers have this type, and the autocast under which it must run."""
    copied = copy.deepcopy(module).requires_grad_(False).eval()
    if device.type == "cpu" and packed and can_pack(dtype):
        pack(copied, dtype)
        return copied, torch.autocast(device.type, enabled=False)
    for part in copied.modules():
        if isinstance(part, nn.Linear):
            part.to(dtype)
    # Without a cache of casts: weights have their type already, and a cached tensor of one captured graph must not be
    # used by another.
    return copied, torch.autocast(device.type, dtype, enabled=dtype != torch.float32, cache_enabled=False)
