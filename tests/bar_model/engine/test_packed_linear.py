import pytest
import torch

from bar_model.engine.packed_linear import PackedLinear, can_pack

FLOAT32 = torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_packed_layer_is_the_layer(dtype: torch.dtype) -> None:
    if not can_pack(dtype):
        pytest.skip(f"this processor has no {dtype}")
    linear = torch.nn.Linear(33, 47)
    packed, x = PackedLinear(linear, dtype), torch.randn(2, 5, 33)
    with torch.no_grad():
        rounded = torch.nn.functional.linear(x.to(dtype).float(), linear.weight.to(dtype).float())
        expected = rounded + linear.bias.to(dtype).float()
    torch.testing.assert_close(packed(x).float(), expected, atol=1e-5 if dtype == FLOAT32 else 2e-2, rtol=1e-2)
