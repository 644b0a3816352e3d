"""2-D axial rotary positions over the token grid (docs/method.md, section 3)."""

from typing import NamedTuple

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int64
from torch import Tensor

_THETA = 10_000.0


class Rotation(NamedTuple):
    """Cosine and sine of every angle of every slot, in float32; each angle stands twice, once for each of its pair."""

    cos: Float[Tensor, "*batch slots head_width"]
    sin: Float[Tensor, "*batch slots head_width"]

    def at(self, positions: Int64[Tensor, "*batch slots"]) -> "Rotation":
        """The rows of a table at these positions, with an axis of length 1 for the attention heads."""
        return Rotation(self.cos[positions].unsqueeze(-3), self.sin[positions].unsqueeze(-3))


def axial_rotation(grid: int, head_width: int, *, prefix: int) -> Rotation:
    """The table of all positions: `prefix` positions without rotation, then `grid` × `grid` in raster order.

    The first half of a head's dimensions rotates by the row, the second half by the column. The table has its values on
    the CPU even where modules are built on the meta device, since no checkpoint holds it.
    """
    half = head_width // 2
    frequencies = 1.0 / _THETA ** (torch.arange(0, half, 2, device="cpu").float() / half)
    angles = torch.arange(grid, device="cpu").float()[:, None] * frequencies
    angles = repeat(angles, "place frequency -> place (frequency 2)")
    rows = repeat(angles, "row angle -> row column angle", column=grid)
    columns = repeat(angles, "column angle -> row column angle", row=grid)
    turned = rearrange(torch.cat((rows, columns), dim=-1), "row column angle -> (row column) angle")
    angles = torch.cat((torch.zeros(prefix, head_width, device="cpu"), turned))
    return Rotation(angles.cos(), angles.sin())


def rotate(x: Float[Tensor, "*batch slots head_width"], by: Rotation) -> Float[Tensor, "*batch slots head_width"]:
    """Rotate each adjacent pair of dimensions of `x` by its angle, in float32; the result has the type of `x`."""
    exact = x.float()
    even, odd = exact.unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack((-odd, even), dim=-1).flatten(-2)
    return (exact * by.cos + turned * by.sin).to(x.dtype)
