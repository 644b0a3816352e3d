"""The causal transformer: from a class and the tokens so far to the context of the next token.

Tokens can stand in any order, random in training and usually raster in drawing. Each slot therefore has two positions:
its own, and the one that it predicts (docs/method.md, section 3).
"""

from dataclasses import dataclass
from typing import Annotated, NamedTuple, cast

import torch
from einops import repeat
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from bar_model.errors import BadInput
from bar_model.generator.attention import CausalAttention, KeyValueCache, QueryKeyValue, SlotRotations, attend_causally
from bar_model.generator.rotary import Rotation, axial_rotation
from bar_model.layers import BitEmbedding, Modulation, RMSNorm, SwiGLU, modulate
from bar_model.ranges import Depth, Range, ShareBelowOne, Size, check_ranges

# The published tables have more rows than the sequence has slots, and the published checkpoints hold them.
_SURPLUS_POSITIONS = 128
_SURPLUS_SLOTS = 100
# Rows of the class table before the first class: the published model reserves them for the values of a bit.
_FIRST_CLASS = 3


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """The size of the transformer.

    `class_repeats` says how often the class vector stands in the prefix, after the class token.
    """

    width: Size
    depth: Depth
    heads: Size
    class_repeats: Annotated[int, Range(least=0, below=_SURPLUS_SLOTS)] = 32
    dropout: ShareBelowOne = 0.0

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.heads % 2 or self.width % self.heads or (self.width // self.heads) % 4:
            raise BadInput(
                f"transformer of width {self.width} and {self.heads} heads: heads must be even and divide the width "
                "into heads of a multiple of 4"
            )

    @property
    def prefix(self) -> int:
        """Slots before the first image token: the class token and the repeats of the class vector."""
        return 1 + self.class_repeats


class TransformerBlock(nn.Module):
    """Attention and SwiGLU, both residual and both modulated and gated by the class and the slot (adaLN-zero)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.width)
        self.attention = CausalAttention(config.width, config.heads, dropout=config.dropout)
        self.feed_forward_norm = RMSNorm(config.width)
        self.feed_forward = SwiGLU(config.width, dropout=config.dropout)
        self.modulation = Modulation(config.width, parts=6)

    def forward(
        self,
        x: Float[Tensor, "batch slots width"],
        condition: Float[Tensor, "batch slots width"],
        rotations: SlotRotations,
        cache: KeyValueCache | None = None,
    ) -> Float[Tensor, "batch slots width"]:
        """The block over some slots.

        With a cache, `x` is either the first slots of the sequence or the one slot after those in the cache.
        """
        modulation = self.modulation(condition)
        slots = self.before_attention(x, modulation, rotations)
        attended = attend_causally(slots) if cache is None else cache.attend(slots)
        return self.after_attention(x, modulation, attended)

    def before_attention(
        self,
        x: Float[Tensor, "batch slots width"],
        modulation: tuple[Float[Tensor, "batch slots width"], ...],
        rotations: SlotRotations,
    ) -> QueryKeyValue:
        """The part before attention, which treats each slot alone: norm, modulation, queries, keys and values."""
        shift, scale, *_ = modulation
        return self.attention.queries_keys_values(modulate(self.attention_norm(x), shift, scale), rotations)

    def after_attention(
        self,
        x: Float[Tensor, "batch slots width"],
        modulation: tuple[Float[Tensor, "batch slots width"], ...],
        attended: Float[Tensor, "batch heads slots head_width"],
    ) -> Float[Tensor, "batch slots width"]:
        """The part after attention: its gate, then the residual SwiGLU."""
        _, _, gate1, shift2, scale2, gate2 = modulation
        x = x + gate1 * self.attention.joined(attended)
        return x + gate2 * self.feed_forward(modulate(self.feed_forward_norm(x), shift2, scale2))


class Positions(NamedTuple):
    """The position of each slot and the position that it predicts; image positions are counted after the prefix."""

    own: Int64[Tensor, "batch slots"]
    target: Int64[Tensor, "batch slots"]

    def between(self, start: int, stop: int) -> "Positions":
        """The positions of the slots from `start` to before `stop`."""
        return Positions(self.own[:, start:stop], self.target[:, start:stop])


class GenerationState(NamedTuple):
    """The state between two tokens of drawing: class vectors, positions, and one cache for each layer."""

    class_vectors: Float[Tensor, "batch width"]
    positions: Positions
    caches: list[KeyValueCache]


class Transformer(nn.Module):
    """Turns [class token, class vector × repeats, image tokens in generation order] into contexts.

    The last repeat of the class vector predicts the first image token. The slot of the last image token predicts
    nothing and is left out. Classes are 0 … num_classes − 1; `num_classes` itself is the dropped class.
    """

    cos: Float[Tensor, "positions head_width"]
    sin: Float[Tensor, "positions head_width"]

    def __init__(
        self, config: TransformerConfig, *, grid: int, bits: int, num_classes: int, context_width: int
    ) -> None:
        """Make the layers; `grid` and `bits` are those of the generator's own tokens, after patches are merged."""
        super().__init__()
        width, num_tokens = config.width, grid**2
        self.config = config
        self.num_tokens = num_tokens
        self.context_width = context_width
        self.class_token = nn.Parameter(torch.empty(1, width))
        self.class_embedding = nn.Embedding(_FIRST_CLASS + num_classes + 1, width)
        self.bit_embedding = BitEmbedding(bits, width)
        self.position_embedding = nn.Embedding(num_tokens + _SURPLUS_POSITIONS, width)
        self.target_embedding = nn.Embedding(num_tokens + _SURPLUS_POSITIONS, width)
        self.slot_embedding = nn.Embedding(num_tokens + _SURPLUS_SLOTS, width)
        self.blocks = nn.ModuleList(TransformerBlock(config) for _ in range(config.depth))
        self.norm = RMSNorm(width)
        self.context = nn.Linear(width, context_width)
        rotation = axial_rotation(grid, width // config.heads, prefix=config.prefix)
        self.register_buffer("cos", rotation.cos, persistent=False)
        self.register_buffer("sin", rotation.sin, persistent=False)
        nn.init.trunc_normal_(self.class_token, std=0.02)

    @property
    def layers(self) -> list[TransformerBlock]:
        """The blocks, with their type."""
        return cast("list[TransformerBlock]", list(self.blocks))

    def forward(
        self,
        tokens: Bool[Tensor, "batch tokens bits"],
        classes: Int64[Tensor, " batch"],
        order: Int64[Tensor, "batch tokens"],
    ) -> Float[Tensor, "batch tokens context_width"]:
        """The context of every token, given the true tokens before it; all in generation order."""
        class_vectors = self.class_vectors(classes)
        x = torch.cat((self.prefix(class_vectors), self.bit_embedding(tokens[:, :-1].long())), dim=1)
        hidden = self._run(x, class_vectors, self.positions(order), first=0)
        return self.contexts(hidden[:, self.config.prefix - 1 :])

    def prefill(
        self, classes: Int64[Tensor, " batch"], order: Int64[Tensor, "batch tokens"]
    ) -> tuple[Float[Tensor, "batch context_width"], GenerationState]:
        """The context of the first token, and the state with which `decode` continues."""
        class_vectors, (batch, width) = self.class_vectors(classes), (classes.shape[0], self.config.width)
        num_slots = self.config.prefix + self.num_tokens - 1
        shape = (batch, self.config.heads, num_slots, width // self.config.heads)
        caches = [KeyValueCache(shape) for _ in self.blocks]
        state = GenerationState(class_vectors, self.positions(order), caches)
        hidden = self._run(self.prefix(class_vectors), class_vectors, state.positions, first=0, caches=caches)
        return self.contexts(hidden[:, -1]), state

    def decode(self, token: Bool[Tensor, "batch bits"], state: GenerationState) -> Float[Tensor, "batch context_width"]:
        """Append the token that was drawn, and give the context of the next one."""
        x = self.bit_embedding(token.long())[:, None]
        slot = state.caches[0].num_filled
        hidden = self._run(x, state.class_vectors, state.positions, first=slot, caches=state.caches)
        return self.contexts(hidden[:, -1])

    def class_vectors(self, classes: Int64[Tensor, " batch"]) -> Float[Tensor, "batch width"]:
        """The class vector of each image."""
        return self.class_embedding(classes + _FIRST_CLASS)

    def prefix(self, class_vectors: Float[Tensor, "batch width"]) -> Float[Tensor, "batch prefix width"]:
        """The input of the prefix slots: the class token, then the class vector several times."""
        class_token = repeat(self.class_token, "1 width -> batch 1 width", batch=class_vectors.shape[0])
        repeats = repeat(class_vectors, "batch width -> batch repeats width", repeats=self.config.class_repeats)
        return torch.cat((class_token, repeats), dim=1)

    def positions(self, order: Int64[Tensor, "batch tokens"]) -> Positions:
        """The positions of all slots, when the tokens come in this order of raster positions.

        Every prefix slot predicts the first token.
        """
        prefix = self.config.prefix
        own = torch.arange(prefix, device=order.device).expand(order.shape[0], -1)
        first_target = order[:, :1].expand(-1, prefix)
        return Positions(
            own=torch.cat((own, prefix + order[:, :-1]), dim=1),
            target=prefix + torch.cat((first_target, order[:, 1:]), dim=1),
        )

    def _run(
        self,
        x: Float[Tensor, "batch slots width"],
        class_vectors: Float[Tensor, "batch width"],
        positions: Positions,
        *,
        first: int,
        caches: list[KeyValueCache] | None = None,
    ) -> Float[Tensor, "batch slots width"]:
        """The output of the blocks for the slots from `first` on."""
        last = first + x.shape[1]
        x, rotations = self.placed(x, positions.between(first, last))
        condition = self.condition(class_vectors, first, last)
        for block, cache in zip(self.layers, caches or [None] * len(self.blocks), strict=True):
            x = block(x, condition, rotations, cache)
        return x

    def placed(
        self, x: Float[Tensor, "batch slots width"], positions: Positions
    ) -> tuple[Float[Tensor, "batch slots width"], SlotRotations]:
        """The input of the first block for slots at these positions, and their rotations."""
        own, target = positions
        table = Rotation(self.cos, self.sin)
        x = x + self.position_embedding(own) + self.target_embedding(target)
        return x, SlotRotations(own=table.at(own), target=table.at(target))

    def condition(
        self, class_vectors: Float[Tensor, "batch width"], first: int, last: int
    ) -> Float[Tensor, "batch slots width"]:
        """The condition of the slots from `first` to before `last`: the class vector plus the embedding of the slot."""
        return class_vectors[:, None] + self.slot_embedding.weight[first:last]

    def contexts(self, hidden: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch context_width"]:
        """The output of the blocks as contexts for the head."""
        return self.context(self.norm(hidden))
