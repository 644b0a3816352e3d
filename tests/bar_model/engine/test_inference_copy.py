"""Copies for drawing have the type that was chosen, and leave the original alone."""

import pytest
import torch
from torch import nn

from bar_model.engine.inference_copy import best_dtype, inference_copy
from bar_model.engine.packed_linear import can_pack


def test_the_best_type_is_what_the_device_multiplies_in() -> None:
    expected = torch.bfloat16 if can_pack(torch.bfloat16) else torch.float32
    assert best_dtype(torch.device("cpu")) == expected


@pytest.mark.parametrize("packed", [True, False])
def test_a_copy_computes_as_the_original_which_does_not_change(packed: bool) -> None:
    module = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 8))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    copied, autocast = inference_copy(module, torch.float32, torch.device("cpu"), packed=packed)
    x = torch.randn(4, 16)
    with torch.no_grad(), autocast:
        assert torch.allclose(copied(x), module(x), atol=1e-6)
    assert all(torch.equal(module.state_dict()[name], tensor) for name, tensor in before.items())
    assert not any(parameter.requires_grad for parameter in copied.parameters())
    assert module[0].weight.requires_grad
