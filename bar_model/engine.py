"""The engine: draws what the plain sampler draws, faster.

What a token needs of its class and place alone (adaLN: a third of the transformer) is computed for many tokens in large
products; a class's prefix once, however many images of a batch are of that class; noise for all tokens at once. In
bfloat16 the linear layers, keys and values are; the transformer's residual stream, norms, rotations, guidance and noise
stay in float32.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from bar_model.attention import KeyValueCache
from bar_model.bar import Bar
from bar_model.head import Known
from bar_model.noise import CounterNoise, SamplingNoise
from bar_model.packed import can_pack, pack
from bar_model.sampling import Sampling
from bar_model.tokenizer import Tokenizer
from bar_model.transformer import Positions, Transformer

Module = TypeVar("Module", bound=nn.Module)

MODULATION_BYTES = 2**28
"""Of the modulations that are held ready at once."""
TAPE_BYTES = 2**28
"""Noise is drawn at once where it takes no more than this; else token by token."""


class Engine:
    """A generator made ready to draw. Weights are copied: later changes of the model do not reach it."""

    def __init__(self, bar: Bar, *, dtype: torch.dtype | None = None) -> None:
        """`dtype` of weights, keys and values: by default bfloat16 where the device has it, else float32."""
        device = bar.transformer.class_token.device
        self.dtype = best_dtype(device) if dtype is None else dtype
        self._bar, self._autocast = _readied(bar, self.dtype, device)
        self._transformer = FastTransformer(self._bar.transformer)

    def generate(
        self,
        labels: Int64[Tensor, " batch"] | Sequence[int],
        *,
        seed: int = 0,
        images: Int64[Tensor, " batch"] | None = None,
        sampling: Sampling | None = None,
        known: Known | None = None,
        noise: SamplingNoise | None = None,
    ) -> Bool[Tensor, "batch tokens bits"]:
        """As `Bar.generate`, and with its errors."""
        sampling = sampling or self._bar.config.sampling
        if noise is None:
            if images is None:
                images = torch.arange(len(labels), device=self._bar.transformer.class_token.device)
            noise = self._noise(CounterNoise(seed, images), len(images), sampling)
        with self._autocast:
            return self._bar.generate_by(
                self._transformer, labels, seed=seed, images=images, sampling=sampling, known=known, noise=noise
            )

    def _noise(self, counted: CounterNoise, num_images: int, sampling: Sampling) -> SamplingNoise:
        head, steps, tokens = self._bar.head, len(sampling.allocation), self._bar.transformer.num_tokens
        # Philox works on four words of 64 bits.
        num_bytes = 32 * num_images * tokens * steps * head.bits
        if self._bar.config.head.kind == "linear" or num_bytes > TAPE_BYTES:
            return counted
        return counted.tape(tokens, steps, head.bits)


class FastDecoder:
    """A tokenizer made ready to decode. Weights are copied: later changes of the tokenizer do not reach it."""

    def __init__(self, tokenizer: Tokenizer, *, dtype: torch.dtype | None = None) -> None:
        """`dtype` of the weights: by default bfloat16 where the device has it, else float32."""
        device = tokenizer.decoder.class_token.device
        self.dtype = best_dtype(device) if dtype is None else dtype
        self._tokenizer = tokenizer
        self._decoder, self._autocast = _readied(tokenizer.decoder, self.dtype, device)

    def decode(self, bits: Bool[Tensor, "batch tokens bits"]) -> Float[Tensor, "batch 3 height width"]:
        """As `Tokenizer.decode`, and with its errors."""
        with self._autocast:
            return self._tokenizer.decode_by(self._decoder, bits).float()


def best_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where products of it are native."""
    native = torch.cuda.is_bf16_supported() if device.type == "cuda" else can_pack(torch.bfloat16)
    return torch.bfloat16 if native else torch.float32


def _readied(module: Module, dtype: torch.dtype, device: torch.device) -> tuple[Module, torch.autocast]:
    """A copy whose linear layers hold this type, and the autocast under which it is to run."""
    ready = copy.deepcopy(module).requires_grad_(False).eval()
    if device.type == "cpu" and can_pack(dtype):
        pack(ready, dtype)
        return ready, torch.autocast(device.type, enabled=False)
    for part in ready.modules():
        if isinstance(part, nn.Linear):
            part.to(dtype)
    return ready, torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


@dataclass
class FastGeneration:
    """What `FastTransformer` remembers while it draws: each row's place among the classes, positions, caches."""

    class_vectors: Float[Tensor, "classes width"]
    class_of_row: Int64[Tensor, " rows"]
    positions: Positions
    caches: list[KeyValueCache]
    modulations: list[Float[Tensor, "classes slots parts_width"]] = field(default_factory=list)
    first: int = 0
    """The slot of the first modulation that is held."""


class FastTransformer:
    """Prefill and decode of a transformer; what rows have in common is done once."""

    def __init__(self, transformer: Transformer) -> None:
        self._plain = transformer

    def prefill(
        self, classes: Int64[Tensor, " rows"], order: Int64[Tensor, "rows tokens"]
    ) -> tuple[Float[Tensor, "rows context_width"], FastGeneration]:
        """The context of the first token, and the state from which `decode` goes on."""
        plain = self._plain
        prefix = plain.config.prefix
        # All prefix slots look towards the first token, so a prefix is a function of the class and that token's place.
        kinds, kind_of_row = torch.stack((classes, order[:, 0]), dim=1).unique(dim=0, return_inverse=True)
        shared = self._caches(len(kinds), prefix)
        vectors = plain.class_vectors(kinds[:, 0])
        x, rotations = plain.placed(plain.prefix(vectors), plain.positions(kinds[:, 1:]).between(0, prefix))
        condition = plain.condition(vectors, 0, prefix)
        for block, cache in zip(plain.layers, shared, strict=True):
            x = block(x, block.modulation(condition), rotations, cache)
        caches = self._caches(len(classes), prefix + self._plain.num_tokens - 1)
        for cache, common in zip(caches, shared, strict=True):
            cache.start_from(common, kind_of_row)
        distinct, class_of_row = classes.unique(return_inverse=True)
        state = FastGeneration(plain.class_vectors(distinct), class_of_row, plain.positions(order), caches)
        return plain.contexts(x[:, -1])[kind_of_row], state

    def decode(self, token: Bool[Tensor, "rows bits"], state: FastGeneration) -> Float[Tensor, "rows context_width"]:
        """Append the token just drawn; the context of the one after it."""
        plain, slot = self._plain, state.caches[0].num_filled
        if not state.modulations or slot == state.first + state.modulations[0].shape[1]:
            self._modulate(state, slot)
        x = plain.bit_embedding(token.long())[:, None]
        x, rotations = plain.placed(x, state.positions.between(slot, slot + 1))
        for block, joined, cache in zip(plain.layers, state.modulations, state.caches, strict=True):
            own = joined[:, slot - state.first][state.class_of_row]
            x = block(x, block.modulation.split(own[:, None]), rotations, cache)
        return plain.contexts(x[:, 0])

    def _caches(self, rows: int, slots: int) -> list[KeyValueCache]:
        config = self._plain.config
        shape = (rows, config.heads, slots, config.width // config.heads)
        return [KeyValueCache(shape) for _ in self._plain.blocks]

    def _modulate(self, state: FastGeneration, slot: int) -> None:
        """Make the modulations of the next slots ready."""
        width, depth = self._plain.config.width, self._plain.config.depth
        bytes_a_slot = 4 * len(state.class_vectors) * 6 * width * depth
        last = min(
            slot + max(1, MODULATION_BYTES // bytes_a_slot), self._plain.config.prefix + self._plain.num_tokens - 1
        )
        condition = self._plain.condition(state.class_vectors, slot, last)
        state.modulations = [block.modulation.joined(condition) for block in self._plain.layers]
        state.first = slot
