"""From drawn bits to pictures on the host; on a GPU while the next batch is being drawn."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from bar_model.engine.engine import FastDecoder
from bar_model.tokenizer.tokenizer import BROKEN_IMAGES, to_uint8


class DecodedImages(NamedTuple):
    """A batch on the host."""

    bits: Bool[Tensor, "batch tokens bits"]
    images: UInt8[Tensor, "batch height width 3"]


def decode_all(decoder: FastDecoder, drawn: Iterable[Bool[Tensor, "batch tokens bits"]]) -> Iterator[DecodedImages]:
    """The pictures of each batch of bits, in their order:

        decode_all(decoder, (engine.generate(labels, images=images) for labels, images in batches))

    On a GPU a batch is decoded and sent on a stream of its own and handed out when the next one has been launched, so
    that two batches are under way; elsewhere each is decoded as it comes.

    Raises:
        ValueError: there are NaNs, of which a byte would make a colour.
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
    """A batch on its way to the host: launched, and not waited for."""

    def __init__(self, decoder: FastDecoder, bits: Tensor, stream: torch.cuda.Stream | None) -> None:
        self._done = None
        if stream is None:
            self._arriving = _decoded(decoder, bits)
            return
        stream.wait_stream(torch.cuda.current_stream(decoder.device))
        with torch.cuda.stream(stream):
            parts = _decoded(decoder, bits)
            # Only into pinned memory does the host not wait for what is sent.
            self._arriving = [torch.empty(part.shape, dtype=part.dtype, pin_memory=True) for part in parts]
            for target, part in zip(self._arriving, parts, strict=True):
                target.copy_(part, non_blocking=True)
            bits.record_stream(stream)  # It was made on another: its memory is not to be used again before.
            self._done = torch.cuda.Event()
            self._done.record(stream)

    def received(self) -> DecodedImages:
        if self._done is not None:
            self._done.synchronize()
        bits, images, broken = self._arriving
        if broken.item():
            raise ValueError(BROKEN_IMAGES)
        return DecodedImages(bits, images)


def _decoded(decoder: FastDecoder, bits: Tensor) -> list[Tensor]:
    """The bits, their pictures, and whether these hold NaN."""
    images = decoder.decode(bits)
    return [bits, to_uint8(images), images.isnan().any()]
