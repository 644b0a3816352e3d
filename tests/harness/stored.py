"""Images as they are stored for a test, and all that a source reads of them."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pipeline.images.source import Source, StoredImage, in_portions, listing_order, read_all

IN_CLASSES = ["cat/1.png", "cat/2.JPEG", "dog/a b'é\".png", "dog/deep/er/3.PNG", "ox/4.webp"]
"""Names in a folder of class folders, in order."""


def picture(seed: int) -> bytes:
    """A PNG of noise, 12 × 9."""
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def parquet(columns: Mapping[str, Sequence]) -> bytes:
    """A file of these columns, two rows a group."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(dict(columns)), sink, row_group_size=2)
    return sink.getvalue().to_pybytes()


def as_structs(*images: bytes | None) -> list[dict]:
    """A column of images, as the Hugging Face hub has them."""
    return [{"bytes": data, "path": f"n0144_{row}.JPEG"} for row, data in enumerate(images)]


def items(source: Source, size: int = 2) -> list[StoredImage]:
    """All images of a source, read as units are; checks that its listing is in order and the same every time."""
    listed = list(source.listing())
    assert listed == sorted(source.listing(), key=listing_order)
    return [item for some in in_portions(listed, size) for item in read_all(source, some)]
