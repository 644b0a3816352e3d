"""Binary finite scalar quantisation: features <-> bits (docs/method.md, section 2)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

_HALF_WIDTH = torch.tensor(1.001) / 2
# In float32, as published: so near to 1 the arc tangent turns the last bit of its argument into 1e-5 of the threshold.
_SHIFT = torch.atanh(0.5 / _HALF_WIDTH)

THRESHOLD = -_SHIFT.item()
"""A bit is 1 exactly where z >= THRESHOLD (about -3.8007)."""


def quantize(z: Float[Tensor, "*batch bits"]) -> Float[Tensor, "*batch bits"]:
    """z -> -1 or +1, with the gradient of the tanh that bounds z before it is rounded (straight-through)."""
    bounded = torch.tanh(z + _SHIFT.item()) * _HALF_WIDTH.item() - 0.5
    rounded = bounded + (bounded.round() - bounded).detach()
    return 2 * rounded + 1


class BinaryQuantizer(nn.Module):
    """Features -> z -> signs -> the decoder's tokens; all in float32, whatever the precision around it."""

    def __init__(self, width_in: int, bits: int, width_out: int, *, balanced_start: bool) -> None:
        """`balanced_start` puts the threshold where z begins; else an untrained encoder's bits are all 1."""
        super().__init__()
        self.project = nn.Linear(width_in, bits)
        self.embed = nn.Linear(bits, width_out)
        if balanced_start:
            nn.init.constant_(self.project.bias, THRESHOLD)

    def pre_quantise(self, features: Float[Tensor, "batch tokens width_in"]) -> Float[Tensor, "batch tokens bits"]:
        """The values z that `quantize` rounds."""
        return _linear_in_float32(self.project, features)

    def tokens(self, signs: Float[Tensor, "batch tokens bits"]) -> Float[Tensor, "batch tokens width_out"]:
        """Signs (-1 or +1) -> the decoder's tokens."""
        return _linear_in_float32(self.embed, signs)


def bits_to_signs(bits: Bool[Tensor, "*batch bits"]) -> Float[Tensor, "*batch bits"]:
    return 2.0 * bits - 1.0


def signs_to_bits(signs: Float[Tensor, "*batch bits"]) -> Bool[Tensor, "*batch bits"]:
    return signs > 0


def _linear_in_float32(linear: nn.Linear, x: Float[Tensor, "*batch width_in"]) -> Float[Tensor, "*batch width_out"]:
    with torch.autocast(x.device.type, enabled=False):
        return F.linear(x.float(), linear.weight.float(), linear.bias.float())
