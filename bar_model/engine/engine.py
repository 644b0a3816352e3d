"""The engine: draws the same tokens as the plain sampler, faster.

The prefix of a class is computed once. Modulations depend only on class and position, so they are computed for many
tokens in one large product; noise is made for many tokens at once, too. The rest is the same work over the same memory
for every batch (`canvas.py`). With bfloat16, only linear layers, keys and values have that type. The residual stream of
the transformer, norms, rotations, guidance and noise stay in float32.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from bar_model.engine.batch_size import drawing_bytes, fits, largest_batch, too_little
from bar_model.engine.canvas import Canvas, CanvasShape
from bar_model.engine.inference_copy import best_dtype, inference_copy
from bar_model.engine.prefixes import Prefixes
from bar_model.generator.bar import Bar
from bar_model.generator.sampling import Request, Sampling
from bar_model.heads.head import KnownBits
from bar_model.memory import available_bytes, total_bytes
from bar_model.noise import SamplingNoise
from bar_model.tokenizer.tokenizer import TokenizerConfig

logger = logging.getLogger(__name__)


class Engine:
    """Draws with a copy of a generator; later changes of the model do not reach the copy.

    The memory of a batch is kept for the next batch of the same size and settings.
    """

    # Tensors made in inference mode can't be written outside of it, and this memory is kept from call to call.
    @torch.inference_mode(False)
    def __init__(
        self,
        bar: Bar,
        *,
        dtype: torch.dtype | None = None,
        compiled: bool | None = None,
        prefix_bytes: int | None = None,
    ) -> None:
        """Copy the generator.

        `dtype` is the type of weights, keys and values: by default bfloat16 if the device computes in it, otherwise
        float32. `compiled` fuses the work between the matrix products with torch.compile; by default it is on for GPUs.
        `prefix_bytes` limits the memory for prefixes, by default to a sixteenth of the device's memory.
        """
        self._device = device = bar.transformer.class_token.device
        self.dtype = best_dtype(device) if dtype is None else dtype
        self._compiled = device.type == "cuda" if compiled is None else compiled
        self._bar, self._autocast = inference_copy(bar, self.dtype, device, packed=not self._compiled)
        if self._compiled:
            self._bar.head.compile(fullgraph=True)
        self._prefixes = Prefixes(
            self._bar.transformer,
            dropped_class=bar.dropped_class,
            max_bytes=total_bytes(device) // 16 if prefix_bytes is None else prefix_bytes,
            dtype=self.dtype,
        )
        self._canvas: Canvas | None = None
        self._fitting: int | None = None

    def generate(
        self,
        labels: Int64[Tensor, " batch"] | Sequence[int],
        *,
        seed: int = 0,
        images: Int64[Tensor, " batch"] | None = None,
        sampling: Sampling | None = None,
        known: KnownBits | None = None,
        noise: SamplingNoise | None = None,
    ) -> Bool[Tensor, "batch tokens bits"]:
        """Draw what `Bar.generate` draws. On a GPU this returns while the last tokens are still being drawn.

        Raises:
            BadInput: as `Bar.generate`, or not a single image fits into memory.
        """
        with torch.inference_mode(False), torch.no_grad(), self._autocast:
            return self._bar.generate_by(
                self._draw, labels, seed=seed, images=images, sampling=sampling, known=known, noise=noise
            )

    def largest_batch(self, *, sampling: Sampling | None = None, tokenizer: TokenizerConfig | None = None) -> int:
        """The most images that can be drawn at once in the memory that is free, and decoded if a tokenizer is given.

        Raises:
            BadInput: not a single image fits.
        """
        self._canvas = None
        free = available_bytes(self._device)
        return largest_batch(self._bar, free, sampling=sampling, dtype=self.dtype, tokenizer=tokenizer)

    def _draw(self, request: Request) -> Bool[Tensor, "batch tokens bits"]:
        """Draw the whole batch at once or, if it does not fit, in equal parts with the same noise."""
        batch, first, parts = len(request.classes), 0, []
        while first < batch:
            try:
                canvas = self._canvas_for(min(batch, self._fitting or batch), request)
                # The last part is filled up with its last image: sums of another shape would be rounded differently.
                rows = torch.arange(first, first + canvas.shape.num_images, device=request.classes.device)
                parts.append(self._draw_on(canvas, request.of_rows(rows.clamp(max=batch - 1))))
                first += canvas.shape.num_images
            except torch.OutOfMemoryError:
                tried = min(batch, self._fitting or batch)
                if tried == 1:
                    raise
                canvas = None
                self._back_off(tried)
        return torch.cat(parts)[:batch]

    def _draw_on(self, canvas: Canvas, request: Request) -> Bool[Tensor, "batch tokens bits"]:
        canvas.start(request, self._prefixes)
        for token in range(self._bar.transformer.num_tokens):
            canvas.advance(token)
        return canvas.drawn.clone()

    def _canvas_for(self, num_images: int, request: Request) -> Canvas:
        """Memory for this many images, or for fewer if they do not fit; the last one if its shape is the same."""
        inpaints = request.known is not None
        shape = CanvasShape(num_images=num_images, sampling=request.sampling, inpaints=inpaints)
        if self._canvas is None or self._canvas.shape != shape:
            self._canvas = None  # Its memory may be needed.
            free = available_bytes(self._device)
            while not fits(needed := drawing_bytes(self._bar, shape, dtype=self.dtype), free):
                if shape.num_images == 1:
                    raise too_little(needed, free)
                self._back_off(shape.num_images)
                shape = replace(shape, num_images=-(-shape.num_images // 2))
            self._canvas = Canvas(self._bar, shape, dtype=self.dtype, compiled=self._compiled)
        return self._canvas

    def _back_off(self, num_images: int) -> None:
        self._canvas = None
        self._fitting = -(-num_images // 2)
        logger.warning(
            "%d images at once do not fit into memory: drawing %d at once from now on; float sums depend on it, and "
            "a few bits on them",
            num_images,
            self._fitting,
        )
