"""Images of a source as a stage reads them: decoded, cropped, and those that can't be used kept apart."""

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from pipeline.execution.manifest import Quarantined
from pipeline.execution.records import Records
from pipeline.execution.unit import Row
from pipeline.images.codec import (
    DECODE_BYTES_A_PIXEL,
    MAX_FILE_BYTES,
    MAX_PIXELS,
    BadImage,
    UnreachableImage,
    decode_and_crop,
)
from pipeline.images.source import READ_AHEAD_BYTES, ListedImage, Source, read_all

LIBRARIES_BYTES = 400_000_000
"""What a process of Ray holds of its own with the libraries that reading needs, beside what processes share."""
COPIES = 3
"""How often a unit's images are in memory: as they are read, and on their way into Ray's object store."""
DIGEST_BYTES = 8
NO_DIGEST = bytes(DIGEST_BYTES)
"""It stands in the place of the digest of an image whose bytes could not be read."""


def content_digest(data: bytes | BadImage) -> bytes:
    """Eight bytes by which an image's stored bytes are recognised when only its time or ETag has changed."""
    return NO_DIGEST if isinstance(data, BadImage) else hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()


def reader_memory(num_images: int, size: int, max_pixels: int = MAX_PIXELS) -> int:
    """The bytes that reading a unit of so many images takes at most: one image is decoded at a time.

    2.6 GB for units of 512 images of 256 px, of which 1.5 GB are for an image of `MAX_PIXELS`.
    """
    unit = COPIES * num_images * 3 * size**2
    return LIBRARIES_BYTES + unit + READ_AHEAD_BYTES + MAX_FILE_BYTES + DECODE_BYTES_A_PIXEL * max_pixels


def read_images(source: Source, listed: Sequence[ListedImage], size: int, max_pixels: int = MAX_PIXELS) -> Row:
    """Images of a source, cropped: `images` (N, size, size, 3) uint8, and `records` (JSON of `Records`).

    `contents` (listed, 8) uint8 has the digests of the stored bytes of all listed images. Images that can't be used are
    among the quarantined of the records, with the reason and whether it may pass.
    """
    images = np.empty((len(listed), size, size, 3), np.uint8)
    keys: list[str] = []
    labels: list[int] = []
    quarantined: list[Quarantined] = []
    contents: list[bytes] = []
    for item in read_all(source, listed):
        contents.append(content_digest(item.data))
        try:
            if isinstance(item.data, BadImage):
                raise item.data
            images[len(keys)] = decode_and_crop(item.data, size, max_pixels)
        except BadImage as error:
            is_passing = isinstance(error, UnreachableImage)
            quarantined.append(Quarantined(item.key, item.where, str(error), is_passing))
        else:
            keys.append(item.key)
            labels.append(item.label)
    records = Records(keys, labels, quarantined).to_json()
    return {"images": images[: len(keys)], "records": records, "contents": as_digests(b"".join(contents))}


def as_digests(data: bytes) -> UInt8[np.ndarray, "images 8"]:
    """Digests from their bytes, one behind the other."""
    return np.frombuffer(data, np.uint8).reshape(-1, DIGEST_BYTES)
