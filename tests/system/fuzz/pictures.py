"""Pictures of every format, through the decoder of all readers."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.images.codec import FORMATS, decode_and_crop
from tests.system.fuzz.damage import bytes_damaged, cut_off, head_damaged
from tests.system.fuzz.door import Damage, Door, MakeDoor, demand, of_several
from tests.system.fuzz.structures import png_damaged

SIZE = 8
_WAYS: dict[str, tuple[tuple[str, dict[str, Any]], ...]] = {
    "JPEG": (("RGB", {}), ("L", {}), ("CMYK", {}), ("RGB", {"progressive": True}), ("RGB", {"optimize": True})),
    "PNG": (("RGB", {}), ("RGBA", {}), ("P", {}), ("L", {}), ("1", {}), ("LA", {})),
    "WEBP": (("RGB", {"quality": 60}), ("RGBA", {"lossless": True})),
    "GIF": (("P", {}), ("L", {"interlace": 0})),
    "BMP": (("RGB", {}), ("P", {}), ("1", {}), ("L", {})),
    "TIFF": (
        *(("RGB", {}), ("L", {}), ("CMYK", {}), ("RGB", {"compression": "tiff_lzw"}), ("P", {})),
        *(("RGB", {"compression": "jpeg"}), ("1", {"compression": "group4"}), ("RGB", {"compression": "packbits"})),
    ),
    "PPM": (("RGB", {}), ("L", {}), ("1", {})),
    "AVIF": (("RGB", {"quality": 60, "speed": 10}),),
}


def _originals(kind: str) -> list[bytes]:
    """Small pictures with both edges and noise, in all modes of a format."""
    pixels = np.random.default_rng(0).integers(0, 256, (19, 13, 3), dtype=np.uint8)
    pixels[:9, :6] = (200, 30, 90)
    files = []
    for mode, options in _WAYS[kind]:
        file = io.BytesIO()
        Image.fromarray(pixels).convert(mode).save(file, kind, **options)
        files.append(file.getvalue())
    return files


def _enter(data: bytes, original: bytes) -> int:
    crop = decode_and_crop(data, SIZE)
    demand(crop.shape == (SIZE, SIZE, 3) and crop.dtype == np.uint8, f"the crop is {crop.dtype} {crop.shape}")
    demand(np.array_equal(crop, decode_and_crop(data, SIZE)), "read again, the picture has other pixels")
    if original.startswith(data):
        demand(np.array_equal(crop, decode_and_crop(original, SIZE)), "cut off, and read with other pixels")
    return 1


def _door(kind: str, *ways: Damage) -> MakeDoor:
    def make(place: Path) -> Door:
        return Door(_originals(kind), of_several(bytes_damaged, bytes_damaged, head_damaged, cut_off, *ways), _enter)

    return make


PICTURES = {
    kind.lower(): _door(kind, *([png_damaged] * 4 if kind == "PNG" else [])) for kind in _WAYS if kind in FORMATS
}
