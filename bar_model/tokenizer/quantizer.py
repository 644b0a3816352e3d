"""Binary finite scalar quantisation: from features to bits and back (docs/method.md, section 2)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

_HALF_WIDTH = torch.tensor(1.001) / 2
# In float32, as published. Near 1 atanh is steep: the last bit of its argument moves the threshold by 1e-5.
_SHIFT = torch.atanh(0.5 / _HALF_WIDTH)

THRESHOLD = -_SHIFT.item()
"""A bit is 1 exactly if z >= THRESHOLD, about -3.8007."""


def quantize(z: Float[Tensor, "*batch bits"]) -> Float[Tensor, "*batch bits"]:
    """The sign, -1 or +1, of each value z.

    The sign has the gradient of the tanh that bounds z before the rounding (straight-through).
    """
    # Bounded to a little more than [-1, 0], of which only -1 and 0 remain after rounding.
    bounded = torch.tanh(z + _SHIFT.item()) * _HALF_WIDTH.item() - 0.5
    # The value of the rounding, with the gradient of what is rounded.
    rounded = bounded + (bounded.round() - bounded).detach()
    return 2 * rounded + 1


class BinaryQuantizer(nn.Module):
    """The linear layers around the rounding: from features to z, and from signs to the decoder's tokens.

    They compute in float32 whatever the precision around them, so that rounding in bfloat16 flips no bits.
    """

    def __init__(self, width_in: int, bits: int, width_out: int, *, balanced_start: bool) -> None:
        """Make the layers.

        At the usual initialisation z is near 0, far above the threshold, and all bits start as 1. `balanced_start`
        sets the bias of the first layer to the threshold, so that half of the bits start as 1.
        """
        super().__init__()
        self.project = nn.Linear(width_in, bits)
        self.embed = nn.Linear(bits, width_out)
        if balanced_start:
            nn.init.constant_(self.project.bias, THRESHOLD)

    def pre_quantise(self, features: Float[Tensor, "batch tokens width_in"]) -> Float[Tensor, "batch tokens bits"]:
        """The values z that `quantize` rounds."""
        return _linear_in_float32(self.project, features)

    def tokens(self, signs: Float[Tensor, "batch tokens bits"]) -> Float[Tensor, "batch tokens width_out"]:
        """The decoder's tokens for these signs (-1 or +1)."""
        return _linear_in_float32(self.embed, signs)


def bits_to_signs(bits: Bool[Tensor, "*batch bits"]) -> Float[Tensor, "*batch bits"]:
    """Bit 0 as -1, bit 1 as +1."""
    return 2.0 * bits - 1.0


def signs_to_bits(signs: Float[Tensor, "*batch bits"]) -> Bool[Tensor, "*batch bits"]:
    """Sign -1 as bit 0, +1 as bit 1."""
    return signs > 0


def _linear_in_float32(linear: nn.Linear, x: Float[Tensor, "*batch width_in"]) -> Float[Tensor, "*batch width_out"]:
    with torch.autocast(x.device.type, enabled=False):
        return F.linear(x.float(), linear.weight.float(), linear.bias.float())
