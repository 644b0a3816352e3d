"""Bits: the shape of an image's codes, their packed form, and how neighbouring tokens merge into one."""

from dataclasses import dataclass
from typing import Annotated

import torch
from einops import rearrange
from jaxtyping import Bool, UInt8
from torch import Tensor

from bar_model.errors import BadInput
from bar_model.ranges import Range, check_ranges


@dataclass(frozen=True, kw_only=True)
class CodeShape:
    """The codes of one view of an image: `grid` × `grid` tokens in raster order, `bits` bits each."""

    grid: Annotated[int, Range(least=1, most=2**12)]
    bits: Annotated[int, Range(least=1, most=2**12)]

    def __post_init__(self) -> None:
        check_ranges(self)

    @property
    def num_tokens(self) -> int:
        """Tokens of an image."""
        return self.grid**2

    @property
    def num_bits(self) -> int:
        """Bits of an image."""
        return self.num_tokens * self.bits

    @property
    def num_bytes(self) -> int:
        """Bytes of an image's bits when they are packed; the last byte may be padded."""
        return -(-self.num_bits // 8)


def pack_bits(bits: Bool[Tensor, "*batch bits"]) -> UInt8[Tensor, "*batch bytes"]:
    """The bits of each row as bytes: eight bits a byte, most significant first, the last byte padded with zeros."""
    padded = torch.nn.functional.pad(bits, (0, -bits.shape[-1] % 8))
    octets = rearrange(padded, "... (bytes eight) -> ... bytes eight", eight=8)
    return (octets.to(torch.uint8) << _shifts(bits.device)).sum(-1, dtype=torch.uint8)


def unpack_bits(packed: UInt8[Tensor, "*batch bytes"], num_bits: int) -> Bool[Tensor, "*batch bits"]:
    """The first `num_bits` bits of each row of bytes: the inverse of `pack_bits`."""
    octets = (packed[..., None] >> _shifts(packed.device)) & 1
    return rearrange(octets, "... bytes eight -> ... (bytes eight)")[..., :num_bits].bool()


def merge_patches(bits: Bool[Tensor, "batch tokens bits"], patch: int) -> Bool[Tensor, "batch merged merged_bits"]:
    """Merge `patch` × `patch` neighbouring tokens into one (docs/method.md, section 3).

    The bits of a merged token are ordered by row in the patch, then column in the patch, then bit.

    Raises:
        BadInput: the tokens do not form a square grid.
    """
    grid = _side(bits.shape[1])
    pattern = "b (row pr column pc) k -> b (row column) (pr pc k)"
    return rearrange(bits, pattern, row=grid // patch, pr=patch, column=grid // patch, pc=patch)


def split_patches(merged: Bool[Tensor, "batch merged merged_bits"], patch: int) -> Bool[Tensor, "batch tokens bits"]:
    """Split each token into the `patch` × `patch` tokens of which `merge_patches` made it.

    Raises:
        BadInput: the tokens do not form a square grid.
    """
    side = _side(merged.shape[1])
    pattern = "b (row column) (pr pc k) -> b (row pr column pc) k"
    return rearrange(merged, pattern, row=side, pr=patch, pc=patch)


def _side(num_tokens: int) -> int:
    side = round(num_tokens**0.5)
    if side**2 != num_tokens:
        raise BadInput(f"{num_tokens} tokens do not form a square grid")
    return side


def _shifts(device: torch.device) -> UInt8[Tensor, "8"]:
    return torch.arange(7, -1, -1, dtype=torch.uint8, device=device)
