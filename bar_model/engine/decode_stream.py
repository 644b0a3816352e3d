"""Decoding of drawn bits to images on the host; on a GPU at the same time as the drawing of the next batch."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from bar_model.engine.fast_decoder import FastDecoder
from bar_model.errors import BadInput
from bar_model.tokenizer.tokenizer import BROKEN_IMAGES, to_uint8


class DecodedImages(NamedTuple):
    """The bits and images of a batch, in the memory of the host."""

    bits: Bool[Tensor, "batch tokens bits"]
    images: UInt8[Tensor, "batch height width 3"]


def decode_all(decoder: FastDecoder, drawn: Iterable[Bool[Tensor, "batch tokens bits"]]) -> Iterator[DecodedImages]:
    """The images of each batch of bits, in the order of the batches:

        decode_all(decoder, (engine.generate(labels, images=images) for labels, images in batches))

    On a GPU a batch is decoded and copied on a stream of its own. It is given out after the next batch was launched, so
    that two batches are in progress at once. On other devices each batch is decoded when its bits come.

    Raises:
        BadInput: the images hold NaN, which a byte would turn into a colour.
    """
    stream = torch.cuda.Stream(decoder.device) if decoder.device.type == "cuda" else None
    sent = None
    for bits in drawn:
        following = _Sending(decoder, bits, stream)
        if stream is None:
            yield following.received()
        elif sent is not None:
            yield sent.received()
        sent = following
    if stream is not None and sent is not None:
        yield sent.received()


class _Sending:
    """A batch whose decoding and copying to the host are launched but may not be finished."""

    def __init__(self, decoder: FastDecoder, bits: Tensor, stream: torch.cuda.Stream | None) -> None:
        self._done = None
        if stream is None:
            self._arriving = _decoded(decoder, bits)
            return
        stream.wait_stream(torch.cuda.current_stream(decoder.device))
        with torch.cuda.stream(stream):
            parts = _decoded(decoder, bits)
            # Only with pinned memory does the host not wait for a copy.
            self._arriving = [torch.empty(part.shape, dtype=part.dtype, pin_memory=True) for part in parts]
            for target, part in zip(self._arriving, parts, strict=True):
                target.copy_(part, non_blocking=True)
            # The bits were made on another stream, which must not reuse their memory before this one has read them.
            bits.record_stream(stream)
            self._done = torch.cuda.Event()
            self._done.record(stream)

    def received(self) -> DecodedImages:
        """Wait for the batch and check it."""
        if self._done is not None:
            self._done.synchronize()
        bits, images, broken = self._arriving
        if broken.item():
            raise BadInput(BROKEN_IMAGES)
        return DecodedImages(bits, images)


def _decoded(decoder: FastDecoder, bits: Tensor) -> list[Tensor]:
    """The bits, their images, and whether the images hold NaN."""
    images = decoder.decode(bits)
    return [bits, to_uint8(images), images.isnan().any()]
