"""The prefix of a sequence, which is the same for all images of a class whose first token has the same position."""

from collections import OrderedDict
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from bar_model.engine.cuda_graphs import CudaGraphs
from bar_model.generator.attention import attend_causally
from bar_model.generator.transformer import Transformer


class PrefixKind(NamedTuple):
    """All that a prefix depends on: the class, and the position of the first token, which all its slots predict."""

    class_index: int
    first_place: int


class Prefix(NamedTuple):
    """The start of drawing: the keys and values of the prefix slots, and the context of the first token."""

    keys: Float[Tensor, "layers heads prefix head_width"]
    values: Float[Tensor, "layers heads prefix head_width"]
    context: Float[Tensor, " context_width"]

    @property
    def num_bytes(self) -> int:
        """The memory that this prefix takes."""
        return sum(part.nbytes for part in self)


class Prefixes:
    """A cache of prefixes of limited size; the one that was not used for the longest time is dropped first.

    Prefixes of the dropped class are dropped last, since every guided image needs one. Each prefix is computed alone,
    so that no bit of it depends on what else is drawn, or in which order.
    """

    def __init__(
        self, transformer: Transformer, *, dropped_class: int, max_bytes: int, dtype: torch.dtype = torch.float32
    ) -> None:
        """Make an empty cache; `dtype` is the type of keys, values and contexts."""
        self._transformer = transformer
        self._dropped_class = dropped_class
        self._max_bytes = max_bytes
        self._kept: OrderedDict[PrefixKind, Prefix] = OrderedDict()
        config, device = transformer.config, transformer.class_token.device
        self._class = torch.zeros(1, dtype=torch.int64, device=device)
        self._order = torch.zeros(1, transformer.num_tokens, dtype=torch.int64, device=device)
        shape = (config.depth, config.heads, config.prefix, config.width // config.heads)
        self._made = Prefix(
            torch.empty(shape, dtype=dtype, device=device),
            torch.empty(shape, dtype=dtype, device=device),
            torch.empty(transformer.context_width, dtype=dtype, device=device),
        )
        self._replays = CudaGraphs(device)

    @property
    def num_bytes(self) -> int:
        """The memory of all prefixes that are kept."""
        return sum(prefix.num_bytes for prefix in self._kept.values())

    @torch.no_grad()
    def of(self, kind: PrefixKind) -> Prefix:
        """The prefix of this kind, computed at its first use and again after it was dropped."""
        prefix = self._kept.get(kind)
        if prefix is None:
            prefix = self._kept[kind] = self._make(kind)
            while self.num_bytes > self._max_bytes:
                others = (kept for kept in self._kept if kept.class_index != self._dropped_class)
                del self._kept[next(others, next(iter(self._kept)))]
        else:
            self._kept.move_to_end(kind)
        return prefix

    def _make(self, kind: PrefixKind) -> Prefix:
        self._class.fill_(kind.class_index)
        self._order.fill_(kind.first_place)
        self._replays("prefix", self._run)
        return Prefix(*(part.clone() for part in self._made))

    def _run(self) -> None:
        transformer = self._transformer
        prefix = transformer.config.prefix
        vectors = transformer.class_vectors(self._class)
        x, rotations = transformer.placed(
            transformer.prefix(vectors), transformer.positions(self._order).between(0, prefix)
        )
        condition = transformer.condition(vectors, 0, prefix)
        for block, keys, values in zip(transformer.layers, self._made.keys, self._made.values, strict=True):
            modulation = block.modulation(condition)
            slots = block.before_attention(x, modulation, rotations)
            x = block.after_attention(x, modulation, attend_causally(slots))
            keys.copy_(slots.keys[0])
            values.copy_(slots.values[0])
        self._made.context.copy_(transformer.contexts(x[0, -1]))
