"""The memory in which the engine draws, of fixed size and place, and the work of one token on it.

The work of a token is the same for every batch. Nothing in it waits for the device, and all shapes follow from the
number of images and the sampling settings, so on a GPU a whole token is one captured graph. Modulations (adaLN, a third
of the transformer's weights) depend only on class and position. They and the noise are made for many tokens at once.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from bar_model.engine.cuda_graphs import CudaGraphs
from bar_model.engine.prefixes import Prefixes, PrefixKind
from bar_model.generator.bar import Bar
from bar_model.generator.sampling import Request, Sampling, draw_token
from bar_model.generator.transformer import Positions, TransformerBlock
from bar_model.heads.head import KnownBits
from bar_model.noise import NoiseTape, SamplingNoise, StepNoise

MODULATION_BYTES = 2**28
"""The memory for modulations that are made at once; there is always room for those of one slot."""
NOISE_BYTES = 2**28
"""The memory for noise that is made at once; there is always room for that of one token."""
_PHILOX_BYTES = 96
"""The memory for the noise of one element while it is made: words of 64 bits, some of them twice."""


@dataclass(frozen=True, kw_only=True)
class CanvasShape:
    """All that the size of the memory and the work of a token depend on."""

    num_images: int
    sampling: Sampling
    inpaints: bool
    """Whether some bits are known before drawing."""


class Canvas:
    """Draws one batch at a time: `start`, then `advance` by one token after another; `drawn` is in raster order."""

    def __init__(
        self,
        bar: Bar,
        shape: CanvasShape,
        *,
        dtype: torch.dtype,
        compiled: bool = False,
        device: torch.device | None = None,
    ) -> None:
        """Take the memory.

        `dtype` is the type of modulations, keys, values and contexts. `compiled` fuses the work between the matrix
        products. On the `device` "meta" nothing can be drawn, but the sizes can be read.
        """
        transformer, config = bar.transformer, bar.transformer.config
        device = device or transformer.class_token.device
        num_tokens, bits = transformer.num_tokens, bar.head.bits
        num_images, num_slots = shape.num_images, config.prefix + num_tokens - 1
        num_rows = 2 * num_images if shape.sampling.guided else num_images
        num_classes = num_images + 1 if shape.sampling.guided else num_images
        num_steps, num_elements = self._noise_shape = bar.head.noise_shape(shape.sampling.allocation)

        def empty(*size: int, of: torch.dtype = dtype) -> Tensor:
            return torch.empty(size, dtype=of, device=device)

        self.shape = shape
        self._bar = bar
        self._replays = CudaGraphs(device)
        self._before_attention = TransformerBlock.before_attention
        self._after_attention = TransformerBlock.after_attention
        if compiled:
            self._before_attention = fused(self._before_attention)
            self._after_attention = fused(self._after_attention)

        self.drawn = empty(num_images, num_tokens, bits, of=torch.bool)
        self._contexts = empty(num_rows, transformer.context_width)
        cache = (config.depth, num_rows, config.heads, num_slots, config.width // config.heads)
        self._keys, self._values = empty(*cache), empty(*cache)
        self._positions = Positions(*(empty(num_rows, num_slots, of=torch.int64) for _ in range(2)))
        self._class_vectors = empty(num_classes, config.width, of=torch.float32)
        self._class_of_row = empty(num_rows, of=torch.int64)
        self._num_classes = 0

        slot_bytes = config.depth * num_classes * 6 * config.width * dtype.itemsize
        self._slots_ahead = max(1, min(num_tokens - 1, MODULATION_BYTES // slot_bytes))
        self._modulations = empty(config.depth, num_classes, self._slots_ahead, 6 * config.width)
        noise_bytes = _PHILOX_BYTES * num_steps * num_images * num_elements
        self._noise_ahead = max(1, min(num_tokens, NOISE_BYTES // noise_bytes))
        noise = (self._noise_ahead, num_steps, num_images, num_elements)
        self._tape = _Ring(empty(*noise, 2, of=torch.float32), empty(*noise, of=torch.float32))
        self._noise: SamplingNoise = self._tape

        self._request = Request(
            classes=empty(num_images, of=torch.int64),
            dropped_class=bar.dropped_class,
            order=empty(num_images, num_tokens, of=torch.int64),
            sampling=shape.sampling,
            noise=self._tape,
            known=KnownBits(*(torch.empty_like(self.drawn) for _ in range(2))) if shape.inpaints else None,
        )

    @property
    def held_bytes(self) -> int:
        """The bytes that are held from token to token."""
        request, tape = self._request, self._tape
        held = [self.drawn, self._contexts, self._keys, self._values, self._class_vectors, self._class_of_row]
        held += [*self._positions, self._modulations, tape.values, tape.confidence]
        held += [request.classes, request.order, *(request.known or ())]
        return sum(tensor.nbytes for tensor in held)

    @property
    def passing_bytes(self) -> int:
        """An upper bound of the bytes that a token, or what is made in advance, takes for a moment."""
        depth, num_classes = self._modulations.shape[:2]
        widest = 4 * max(self._bar.config.head.width, self._bar.config.transformer.width)
        num_elements = self._noise_shape[1]
        # A kernel without strides copies the keys and values of a layer. With guidance the head has every row twice.
        token = (self._keys.nbytes + self._values.nbytes) // depth
        token += 4 * len(self._contexts) * (6 * widest + 8 * num_elements)
        width = self._bar.config.transformer.width
        ahead = self._modulations.nbytes // depth + 4 * 3 * num_classes * self._slots_ahead * width
        return max(token, ahead, _PHILOX_BYTES * self._tape.confidence.numel())

    def start(self, request: Request, prefixes: Prefixes) -> None:
        """Begin a batch of this shape; the work that follows is the same for all batches."""
        transformer, prefix = self._bar.transformer, self._bar.transformer.config.prefix
        classes, order = request.doubled()
        self._request.order.copy_(request.order)
        if self._request.known is not None and request.known is not None:
            for own, given in zip(self._request.known, request.known, strict=True):
                own.copy_(given)
        for own, given in zip(self._positions, transformer.positions(order), strict=True):
            own.copy_(given)
        self._noise = request.noise

        # On the host, once for each batch: which rows have the same prefix, and which the same class.
        rows_of: dict[PrefixKind, list[int]] = {}
        for row, kind in enumerate(zip(classes.tolist(), order[:, 0].tolist(), strict=True)):
            rows_of.setdefault(PrefixKind(*kind), []).append(row)
        index_of = {name: index for index, name in enumerate(dict.fromkeys(kind.class_index for kind in rows_of))}
        self._num_classes = len(index_of)
        self._class_vectors[: len(index_of)] = transformer.class_vectors(classes.new_tensor(list(index_of)))
        self._class_of_row.copy_(classes.new_tensor([index_of[name] for name in classes.tolist()]))
        for kind, rows in rows_of.items():
            common = prefixes.of(kind)
            for row in rows:
                self._keys[:, row, :, :prefix] = common.keys
                self._values[:, row, :, :prefix] = common.values
                self._contexts[row] = common.context

    def advance(self, token: int) -> None:
        """Draw the token at this place of the order."""
        if token % self._noise_ahead == 0:
            self._make_noise(token)
        if token % self._slots_ahead == 0:
            self._make_modulations(token)
        self._replays(token, lambda: self.draw_token(token))

    def draw_token(self, token: int) -> None:
        """The work of a token: always the same launches over the same memory, none of which the host waits for."""
        bits = draw_token(token, self._bar.head, self._contexts, self._request, self.drawn)
        if token < self._bar.transformer.num_tokens - 1:
            self._contexts.copy_(self._decode(bits, token))

    def _decode(self, bits: Bool[Tensor, "rows bits"], token: int) -> Float[Tensor, "rows context_width"]:
        """Append this token, and give the context of the next one."""
        transformer = self._bar.transformer
        slot, ahead = transformer.config.prefix + token, token % self._slots_ahead
        x, rotations = transformer.placed(
            transformer.bit_embedding(bits.long())[:, None], self._positions.between(slot, slot + 1)
        )
        for block, keys, values, joined in zip(
            transformer.layers, self._keys, self._values, self._modulations, strict=True
        ):
            modulation = block.modulation.split(joined[:, ahead][self._class_of_row][:, None])
            new = self._before_attention(block, x, modulation, rotations)
            keys[:, :, slot] = new.keys[:, :, 0]
            values[:, :, slot] = new.values[:, :, 0]
            filled = slot + 1
            attended = F.scaled_dot_product_attention(new.queries, keys[:, :, :filled], values[:, :, :filled])
            x = self._after_attention(block, x, modulation, attended)
        return transformer.contexts(x[:, 0])

    def _make_noise(self, first: int) -> None:
        tokens = range(first, min(first + self._noise_ahead, self._bar.transformer.num_tokens))
        tape = self._noise.tape(tokens, *self._noise_shape)
        self._tape.values[: len(tokens)] = tape.values
        self._tape.confidence[: len(tokens)] = tape.confidence

    def _make_modulations(self, first: int) -> None:
        transformer = self._bar.transformer
        slots = range(first, min(first + self._slots_ahead, transformer.num_tokens - 1))
        prefix, num_classes = transformer.config.prefix, self._num_classes
        condition = transformer.condition(self._class_vectors[:num_classes], prefix + slots.start, prefix + slots.stop)
        for block, joined in zip(transformer.layers, self._modulations, strict=True):
            joined[:num_classes, : len(slots)] = block.modulation.joined(condition)


class _Ring(NoiseTape):
    """A tape that is shorter than the image; its places are used again for later tokens, after it was refilled."""

    def draw(self, token: int, step: int, num_elements: int) -> StepNoise:
        """The noise of the token at unmasking step `step`, from the token's place on the tape."""
        return super().draw(token % len(self.values), step, num_elements)


def fused(work: Callable) -> Callable:
    """The function compiled as one graph; a part that can't be compiled raises an error instead of running slowly."""
    return torch.compile(work, fullgraph=True)
