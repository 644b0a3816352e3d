"""From drawn bits to pictures on the host; on a GPU while the next batch is being drawn."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from bar_model.engine import FastDecoder
from bar_model.tokenizer import to_uint8


class Pictures(NamedTuple):
    """A batch on the host."""

    bits: Bool[Tensor, "batch tokens bits"]
    images: UInt8[Tensor, "batch height width 3"]


def decode_all(decoder: FastDecoder, drawn: Iterable[Bool[Tensor, "batch tokens bits"]]) -> Iterator[Pictures]:
    """The pictures of each batch of bits, in their order:

        decode_all(decoder, (engine.generate(labels, images=images) for labels, images in batches))

    On a GPU a batch is decoded and sent on a stream of its own and handed out when the next one has been launched, so
    that two batches are under way; elsewhere each is decoded as it comes.
    """
    if decoder.device.type != "cuda":
        yield from (Pictures(bits, to_uint8(decoder.decode(bits))) for bits in drawn)
        return
    stream, sent = torch.cuda.Stream(decoder.device), None
    for bits in drawn:
        following = _send(decoder, bits, stream)
        if sent is not None:
            yield _received(*sent)
        sent = following
    if sent is not None:
        yield _received(*sent)


def _send(decoder: FastDecoder, bits: Tensor, stream: torch.cuda.Stream) -> tuple[Pictures, torch.cuda.Event]:
    """Launch decoding and sending; the event is when both are done."""
    done = torch.cuda.Event()
    stream.wait_stream(torch.cuda.current_stream(decoder.device))
    with torch.cuda.stream(stream):
        on_device = bits, to_uint8(decoder.decode(bits))
        # Only into pinned memory does the host not wait for what is sent.
        on_host = [torch.empty(part.shape, dtype=part.dtype, pin_memory=True) for part in on_device]
        for target, part in zip(on_host, on_device, strict=True):
            target.copy_(part, non_blocking=True)
        bits.record_stream(stream)  # It was made by another: its memory is not to be used again before.
        done.record(stream)
    return Pictures(*on_host), done


def _received(pictures: Pictures, done: torch.cuda.Event) -> Pictures:
    done.synchronize()
    return pictures
