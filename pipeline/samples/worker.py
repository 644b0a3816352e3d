"""A worker that draws ranges of images. Codes and pixels do not depend on which worker draws them."""

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool
from torch import Tensor

from bar_model import checkpoint
from bar_model.bits import pack_bits
from bar_model.engine.engine import Engine
from bar_model.generator.bar import Bar
from bar_model.tokenizer.tokenizer import Tokenizer
from pipeline.execution.determinism import check_unchanged, one_thread
from pipeline.execution.unit import Row
from pipeline.features.networks import Extractor, Networks
from pipeline.features.shard import as_columns
from pipeline.samples.decoder import CodeDecoder, whole_batches
from pipeline.samples.labels import LabelSchedule
from pipeline.samples.shard import Drawing
from pipeline.storage import local_copy


class DrawImages:
    """Draws ranges: `indices` (N,) become `labels` (N,) int32, `codes` (N, bytes), perhaps `images` (N, H, W, 3) uint8.

    With an extractor, also its features of the images: `features.NAME` (N, dims) float32 each. Every batch is drawn
    whole; images outside the range are dropped. Each actor has one.
    """

    def __init__(
        self,
        generator: Bar,
        tokenizer: Tokenizer,
        drawing: Drawing,
        labels: LabelSchedule,
        *,
        with_images: bool = True,
        extractor: Extractor | None = None,
    ) -> None:
        self._engine = Engine(generator, dtype=getattr(torch, drawing.precision))
        # Raises now if not a single image fits into memory; a batch that does not fit is drawn in parts.
        self._engine.largest_batch(sampling=drawing.sampling, tokenizer=tokenizer.config)
        self._decoder = CodeDecoder(tokenizer, drawing.batch_size) if with_images or extractor else None
        self._with_images = with_images
        self._extractor = extractor
        self._drawing = drawing
        self._labels = labels

    def __call__(self, row: Row) -> Row:
        """Draws the images of a row of `indices`."""
        indices: np.ndarray = row["indices"]
        batches, asked = whole_batches(indices, self._drawing.batch_size)
        with one_thread(torch.device(self._drawing.device)):
            bits = (self._draw(batch) for batch in batches)
            drawn = [
                self._columns(*batch) for batch in (self._decoder.decode_all(bits) if self._decoder else zip(bits))
            ]
        columns = {name: np.concatenate([batch[name] for batch in drawn])[asked] for name in drawn[0]}
        return {"indices": indices, "labels": self._labels.of(indices), **columns}

    def _draw(self, indices: np.ndarray) -> Bool[Tensor, "batch tokens bits"]:
        device = self._drawing.device
        return self._engine.generate(
            torch.from_numpy(self._labels.of(indices)).long().to(device),
            seed=self._drawing.seed,
            images=torch.from_numpy(indices).to(device),
            sampling=self._drawing.sampling,
        )

    def _columns(self, bits: Tensor, images: Tensor | None = None) -> dict[str, np.ndarray]:
        """The columns of a batch. Anything more that is to be made of its images belongs here."""
        codes = pack_bits(rearrange(bits, "image token bit -> image (token bit)")).cpu().numpy()
        columns = {"codes": codes}
        if images is not None and self._with_images:
            columns["images"] = images.numpy()
        if images is not None and self._extractor is not None:
            seen = self._extractor(rearrange(images, "image row column channel -> image channel row column"))
            columns |= as_columns(seen)
        return columns


def load_models(
    generator: str,
    tokenizer: str,
    drawing: Drawing,
    labels: LabelSchedule,
    *,
    with_images: bool = True,
    networks: Networks | None = None,
) -> DrawImages:
    """Loads generator and tokenizer into a worker, and the feature networks if features are kept."""
    paths = [local_copy(url) for url in (generator, tokenizer)]
    for url, path, expected in zip((generator, tokenizer), paths, (drawing.generator, drawing.tokenizer), strict=True):
        check_unchanged(url, checkpoint.fingerprint_of(path), expected)
    bar = checkpoint.load_bar(paths[0], device=drawing.device)
    decoder = checkpoint.load_tokenizer(paths[1], device=drawing.device, decode_only=True)
    extractor = None if networks is None else networks.load(torch.device(drawing.device))
    return DrawImages(bar, decoder, drawing, labels, with_images=with_images, extractor=extractor)
