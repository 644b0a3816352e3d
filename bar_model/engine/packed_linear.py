"""Linear layers for drawing on a CPU: their weights have the order in which oneDNN's kernels read them."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bar_model.torch_private import mkldnn_has_bfloat16, mkldnn_linear, mkldnn_weight


class PackedLinear(nn.Module):
    """Computes what nn.Linear computes, without gradients and several times as fast on a few rows.

    With a few rows, reading the weights takes nearly all of the time. In bfloat16 the products are summed in float32,
    as the processor's instructions do.
    """

    def __init__(self, linear: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self._weight = mkldnn_weight(linear.weight.detach().to(dtype).contiguous())
        self._bias = None if linear.bias is None else linear.bias.detach().to(dtype)

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """x · weightᵀ + bias, in the type of the weights."""
        return mkldnn_linear(x.to(self.dtype), self._weight, self._bias)


def can_pack(dtype: torch.dtype) -> bool:
    """Whether this processor and this PyTorch have the kernels for this type."""
    if not torch.backends.mkldnn.is_available():
        return False
    return dtype == torch.float32 or mkldnn_has_bfloat16()


def pack(module: nn.Module, dtype: torch.dtype) -> None:
    """Replace all linear layers of a module by packed ones, in place."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, PackedLinear(child, dtype))
        else:
            pack(child, dtype)
