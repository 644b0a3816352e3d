"""Causal self-attention with target-aware rotary positions, and the key/value cache of drawing.

An image may be drawn in any order, so a slot has to know which position it predicts. Half of the query heads therefore
rotate by that position instead of the slot's own (docs/method.md, section 3).
"""

from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from bar_model.generator.rotary import Rotation, rotate
from bar_model.layers import RMSNorm

# Slots up to which products are faster than the fused kernel (`_fused_is_slow`).
_SHORT = 512


class SlotRotations(NamedTuple):
    """The rotations of some slots: by their own positions, and by the positions that they predict."""

    own: Rotation
    target: Rotation


class QueryKeyValue(NamedTuple):
    """Queries, keys and values of some slots, already rotated."""

    queries: Float[Tensor, "batch heads slots head_width"]
    keys: Float[Tensor, "batch heads slots head_width"]
    values: Float[Tensor, "batch heads slots head_width"]


class KeyValueCache:
    """Keys and values of the slots so far, in memory of fixed size: of one layer and one batch."""

    def __init__(self, shape: tuple[int, int, int, int]) -> None:
        """Make an empty cache of (batch, heads, slots, head width); its first keys give device and type."""
        self.num_filled = 0
        self._shape = shape
        self._keys = torch.empty(0)
        self._values = torch.empty(0)

    def attend(self, new: QueryKeyValue) -> Float[Tensor, "batch heads new head_width"]:
        """Append keys and values, and attend with the queries to all of them.

        `new` holds either the first slots of the sequence or a single later one.
        """
        queries, keys, values = new
        end = self.num_filled + keys.shape[2]
        if not self.num_filled:
            self._keys, self._values = keys.new_empty(self._shape), values.new_empty(self._shape)
        self._keys[:, :, self.num_filled : end] = keys
        self._values[:, :, self.num_filled : end] = values
        self.num_filled = end
        keys, values = self._keys[:, :, :end], self._values[:, :, :end]
        return F.scaled_dot_product_attention(queries, keys, values, is_causal=queries.shape[2] > 1)


class CausalAttention(nn.Module):
    """Attention whose query heads rotate half by the slot's own position and half by the one that it predicts.

    Keys always rotate by their own position. Queries and keys pass an RMSNorm for each head before the rotation.
    """

    def __init__(self, width: int, heads: int, *, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.query_norm = RMSNorm(width // heads)
        self.key_norm = RMSNorm(width // heads)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "batch slots width"], rotations: SlotRotations
    ) -> Float[Tensor, "batch slots width"]:
        """Attention over a whole sequence; drawing calls the parts one by one, with a cache between them."""
        return self.joined(attend_causally(self.queries_keys_values(x, rotations)))

    def queries_keys_values(self, x: Float[Tensor, "batch slots width"], rotations: SlotRotations) -> QueryKeyValue:
        """The rotated queries, the rotated keys, and the values of these slots."""
        qkv = rearrange(self.qkv(x), "b n (three h d) -> three b h n d", three=3, h=self.heads)
        queries, keys, values = self.query_norm(qkv[0]), self.key_norm(qkv[1]), qkv[2]
        own, target = queries.chunk(2, dim=1)
        queries = torch.cat((rotate(own, rotations.own), rotate(target, rotations.target)), dim=1)
        return QueryKeyValue(queries, rotate(keys, rotations.own), values)

    def joined(self, attended: Float[Tensor, "batch heads slots head_width"]) -> Float[Tensor, "batch slots width"]:
        """The heads side by side, through the last linear and dropout."""
        return self.dropout(self.out(rearrange(attended, "b h n d -> b n (h d)")))


def attend_causally(slots: QueryKeyValue) -> Float[Tensor, "batch heads slots head_width"]:
    """Attend from each slot to itself and to all slots before it."""
    if _fused_is_slow(slots):
        return _by_products(slots)
    return F.scaled_dot_product_attention(*slots, is_causal=True)


def _fused_is_slow(slots: QueryKeyValue) -> bool:
    """Whether torch's fused kernel is slower than plain products (measured in benchmarks/attention.py).

    That is so for short sequences on CPUs, in the backward pass in bfloat16.
    """
    queries = slots.queries
    short = queries.shape[2] <= _SHORT
    return queries.device.type == "cpu" and queries.dtype == torch.bfloat16 and queries.requires_grad and short


def _by_products(slots: QueryKeyValue) -> Float[Tensor, "batch heads slots head_width"]:
    """The result of the fused kernel up to rounding: scores in bfloat16, their softmax in float32."""
    queries, keys, values = (part.flatten(0, 1) for part in slots)
    num_slots, head_width = queries.shape[1:]
    later = queries.new_full((num_slots, num_slots), -torch.inf).triu(1)
    scores = torch.baddbmm(later, queries, keys.mT, alpha=head_width**-0.5)
    attended = scores.softmax(-1, dtype=torch.float32).to(values.dtype) @ values
    return attended.unflatten(0, slots.queries.shape[:2])
