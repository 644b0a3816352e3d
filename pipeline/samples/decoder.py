"""Codes -> images, with the same pixels while they are drawn as later from the codes alone."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Int64, UInt8
from torch import Tensor

from bar_model.bits import unpack_bits
from bar_model.engine.decode_stream import DecodedImages, decode_all
from bar_model.engine.fast_decoder import FastDecoder
from bar_model.tokenizer.tokenizer import Tokenizer
from pipeline.execution.determinism import one_thread


def whole_batches(indices: Int64[np.ndarray, " images"], size: int) -> tuple[list[Int64[np.ndarray, " batch"]], slice]:
    """The batches that hold a range of images, each from a multiple of `size` on, and the place of the range in them.

    Float sums depend on a batch's shape and an image's place in it, and bits and pixels on the sums.
    """
    starts = range(int(indices[0]) // size * size, int(indices[-1]) + 1, size)
    asked = slice(int(indices[0]) - starts[0], int(indices[-1]) - starts[0] + 1)
    return [np.arange(start, start + size) for start in starts], asked


class CodeDecoder:
    """A tokenizer's decoder that works in the batches that images are drawn in."""

    def __init__(self, tokenizer: Tokenizer, batch_size: int) -> None:
        self._decoder = FastDecoder(tokenizer, dtype=torch.float32)
        self._shape = tokenizer.config.codes
        self._batch_size = batch_size
        self._device = tokenizer.decoder.class_token.device

    def decode_all(self, drawn: Iterable[Bool[Tensor, "batch tokens bits"]]) -> Iterator[DecodedImages]:
        """Decodes whole batches, on a GPU each one while the next is drawn."""
        return decode_all(self._decoder, drawn)

    def __call__(
        self, indices: Int64[np.ndarray, " images"], codes: UInt8[np.ndarray, "images bytes"]
    ) -> UInt8[np.ndarray, "images height width 3"]:
        """Decodes any range of images from their packed codes."""
        batches, asked = whole_batches(indices, self._batch_size)
        padded = np.zeros((len(batches) * self._batch_size, codes.shape[1]), np.uint8)
        padded[asked] = codes
        bits = unpack_bits(torch.from_numpy(padded).to(self._device), self._shape.num_bits)
        shaped = rearrange(bits, "image (token bit) -> image token bit", bit=self._shape.bits)
        with one_thread(self._device):
            pictures = self.decode_all(shaped.split(self._batch_size))
            return np.concatenate([batch.images.numpy() for batch in pictures])[asked]
