"""The causal transformer: a class and the codes so far → one context for each token to come."""

from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from einops import repeat
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from bar_model.errors import BadInput
from bar_model.generator.attention import CausalAttention, KeyValueCache, QueryKeyValue, SlotRotations, attend_causally
from bar_model.generator.rotary import Rotation, axial_rotation
from bar_model.layers import BitEmbedding, Modulation, RMSNorm, SwiGLU, modulate

# The published tables are larger than the sequence, and the published checkpoints hold the surplus rows.
_SURPLUS_POSITIONS = 128
_SURPLUS_SLOTS = 100
# Rows of the class table before the first class: the published model keeps them for the values of a bit.
_FIRST_CLASS = 3


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """`class_repeats`: how often the class vector stands in the prefix, after the class token."""

    width: int
    depth: int
    heads: int
    class_repeats: int = 32
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.heads % 2 or self.width % self.heads or (self.width // self.heads) % 4:
            raise BadInput(
                f"transformer of width {self.width} and {self.heads} heads: heads must be even and divide the width "
                "into heads of a multiple of 4"
            )
        if not 0 <= self.class_repeats < _SURPLUS_SLOTS:
            raise BadInput(f"class_repeats {self.class_repeats}: must be between 0 and {_SURPLUS_SLOTS - 1}")

    @property
    def prefix(self) -> int:
        return 1 + self.class_repeats


class TransformerBlock(nn.Module):
    """Attention and SwiGLU, each modulated and gated by the class and the slot (adaLN-zero)."""

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
        """With a cache, `x` is either the first slots of the sequence or the one slot after those in the cache."""
        modulation = self.modulation(condition)
        heads = self.before_attention(x, modulation, rotations)
        attended = attend_causally(heads) if cache is None else cache.attend(heads)
        return self.after_attention(x, modulation, attended)

    def before_attention(
        self,
        x: Float[Tensor, "batch slots width"],
        modulation: tuple[Float[Tensor, "batch slots width"], ...],
        rotations: SlotRotations,
    ) -> QueryKeyValue:
        shift, scale, *_ = modulation
        return self.attention.queries_keys_values(modulate(self.attention_norm(x), shift, scale), rotations)

    def after_attention(
        self,
        x: Float[Tensor, "batch slots width"],
        modulation: tuple[Float[Tensor, "batch slots width"], ...],
        attended: Float[Tensor, "batch heads slots head_width"],
    ) -> Float[Tensor, "batch slots width"]:
        _, _, gate1, shift2, scale2, gate2 = modulation
        x = x + gate1 * self.attention.joined(attended)
        return x + gate2 * self.feed_forward(modulate(self.feed_forward_norm(x), shift2, scale2))


class Positions(NamedTuple):
    """For each slot, the raster position where it stands and the one that it predicts (prefix included)."""

    own: Int64[Tensor, "batch slots"]
    target: Int64[Tensor, "batch slots"]

    def between(self, start: int, stop: int) -> "Positions":
        return Positions(self.own[:, start:stop], self.target[:, start:stop])


class GenerationState(NamedTuple):
    """What the transformer remembers while it generates: classes, positions, and one cache a layer."""

    class_vectors: Float[Tensor, "batch width"]
    positions: Positions
    caches: list[KeyValueCache]


class Transformer(nn.Module):
    """[class token, class vector × repeats, image tokens in generation order] → contexts.

    The last class position predicts the first image token; the slot of the last image token predicts nothing and is
    left out. Classes are 0 … num_classes − 1; `num_classes` itself is the dropped class.
    """

    cos: Float[Tensor, "positions head_width"]
    sin: Float[Tensor, "positions head_width"]

    def __init__(
        self, config: TransformerConfig, *, grid: int, bits: int, num_classes: int, context_width: int
    ) -> None:
        """`grid` and `bits` are those of the generator's own tokens, after patches are merged."""
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
        return cast("list[TransformerBlock]", list(self.blocks))

    def forward(
        self,
        tokens: Bool[Tensor, "batch tokens bits"],
        classes: Int64[Tensor, " batch"],
        order: Int64[Tensor, "batch tokens"],
    ) -> Float[Tensor, "batch tokens context_width"]:
        """The context of every token, teacher forced; `tokens` and the contexts are in generation order."""
        class_vectors = self.class_vectors(classes)
        x = torch.cat((self.prefix(class_vectors), self.bit_embedding(tokens[:, :-1].long())), dim=1)
        hidden = self._run(x, class_vectors, self.positions(order), first=0)
        return self.contexts(hidden[:, self.config.prefix - 1 :])

    def prefill(
        self, classes: Int64[Tensor, " batch"], order: Int64[Tensor, "batch tokens"]
    ) -> tuple[Float[Tensor, "batch context_width"], GenerationState]:
        """The context of the first token, and the state from which `decode` goes on."""
        class_vectors, (batch, width) = self.class_vectors(classes), (classes.shape[0], self.config.width)
        num_slots = self.config.prefix + self.num_tokens - 1
        shape = (batch, self.config.heads, num_slots, width // self.config.heads)
        caches = [KeyValueCache(shape) for _ in self.blocks]
        state = GenerationState(class_vectors, self.positions(order), caches)
        hidden = self._run(self.prefix(class_vectors), class_vectors, state.positions, first=0, caches=caches)
        return self.contexts(hidden[:, -1]), state

    def decode(self, token: Bool[Tensor, "batch bits"], state: GenerationState) -> Float[Tensor, "batch context_width"]:
        """Append the token just drawn; the context of the one after it."""
        x = self.bit_embedding(token.long())[:, None]
        slot = state.caches[0].num_filled
        hidden = self._run(x, state.class_vectors, state.positions, first=slot, caches=state.caches)
        return self.contexts(hidden[:, -1])

    def class_vectors(self, classes: Int64[Tensor, " batch"]) -> Float[Tensor, "batch width"]:
        return self.class_embedding(classes + _FIRST_CLASS)

    def prefix(self, class_vectors: Float[Tensor, "batch width"]) -> Float[Tensor, "batch prefix width"]:
        class_token = repeat(self.class_token, "1 width -> batch 1 width", batch=class_vectors.shape[0])
        repeats = repeat(class_vectors, "batch width -> batch repeats width", repeats=self.config.class_repeats)
        return torch.cat((class_token, repeats), dim=1)

    def positions(self, order: Int64[Tensor, "batch tokens"]) -> Positions:
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
        """The blocks over the slots from `first` on."""
        last = first + x.shape[1]
        x, rotations = self.placed(x, positions.between(first, last))
        condition = self.condition(class_vectors, first, last)
        for block, cache in zip(self.layers, caches or [None] * len(self.blocks), strict=True):
            x = block(x, condition, rotations, cache)
        return x

    def placed(
        self, x: Float[Tensor, "batch slots width"], positions: Positions
    ) -> tuple[Float[Tensor, "batch slots width"], SlotRotations]:
        """The input of the first block for slots at these positions, and how their vectors turn."""
        own, target = positions
        table = Rotation(self.cos, self.sin)
        x = x + self.position_embedding(own) + self.target_embedding(target)
        return x, SlotRotations(own=table.at(own), target=table.at(target))

    def condition(
        self, class_vectors: Float[Tensor, "batch width"], first: int, last: int
    ) -> Float[Tensor, "batch slots width"]:
        """What the slots from `first` to before `last` are modulated by."""
        return class_vectors[:, None] + self.slot_embedding.weight[first:last]

    def contexts(self, hidden: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch context_width"]:
        return self.context(self.norm(hidden))
