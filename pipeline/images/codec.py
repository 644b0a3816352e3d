"""Decodes an image file into the RGB crop that is tokenized, or says what is wrong with it; encodes pixels as files."""

import io
import warnings
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from bar_model.errors import BadInput, one_line
from bar_model.tokenizer.tokenizer import BROKEN_IMAGES, to_uint8

GRID_GAP = 2
"""Pixels between the images of a grid."""
CROP_RULE = "box-halvings bicubic centre-crop"
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
MAX_PIXELS = 89_478_485
"""The most pixels of an image as stored, and as resized, unless told otherwise. Above it Pillow warns of bombs, too."""
DECODE_BYTES_A_PIXEL = 17
"""What decoding takes at most, beside the file: WebP's decoder needs the most (benchmarks/decode_memory.py)."""
MAX_FILE_BYTES = 2**28
"""The most bytes of a stored image, by far enough for `MAX_PIXELS`: a longer one is not read into memory."""


class BadImage(ValueError):
    """An image that can't be used; the message says why."""


class UnreachableImage(BadImage):
    """An image that can't be read now: its server does not answer, and another time it may."""


def decode_and_crop(data: bytes, size: int, max_pixels: int = MAX_PIXELS) -> UInt8[np.ndarray, "size size 3"]:
    """The centre crop of an encoded image (docs/method.md, section 2).

    Colour and orientation are those of the published tokenizing, which loads with torchvision's `ImageFolder`: the
    image becomes RGB as Pillow converts it, before it is resized (transparency is dropped, CMYK converted without a
    profile), and the EXIF orientation is ignored, but for TIFF, which Pillow turns when it decodes; so codes agree with
    the published ones. Two kinds are refused though Pillow would convert them, because the result is another image: an
    animation (its first frame), and grey of more than 8 bits (clipped to nearly all white).

    Raises:
        BadImage: the image can't be used.
    """
    return _crop(decode(data, max_pixels), size, max_pixels)


def resize_image(data: bytes, size: int) -> UInt8[np.ndarray, "height width 3"]:
    """An encoded image whose shorter side is `size`, uncropped, as tokenizers are trained (docs/method.md, section 2).

    Raises:
        BadImage: the image can't be used.
    """
    image = decode(data)
    width, height = image.size
    shorter = min(width, height)
    return np.asarray(_resized(image, size * width // shorter, size * height // shorter, MAX_PIXELS))


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """An encoded image in RGB.

    Raises:
        BadImage: the image can't be used.
    """
    with warnings.catch_warnings():
        # Pillow warns of odd metadata, which is not read here.
        warnings.simplefilter("ignore")
        try:
            return _decode(data, max_pixels)
        except (BadImage, MemoryError):
            raise
        except Exception as error:  # Pillow's decoders raise nearly anything where the data is malformed.
            raise BadImage(one_line(f"can't be decoded: {error or type(error).__name__}")) from error


def unchanged(images: UInt8[np.ndarray, "*batch height width 3"]) -> UInt8[np.ndarray, "*batch height width 3"]:
    """The view that is the image itself."""
    return images


def flip(images: UInt8[np.ndarray, "*batch height width 3"]) -> UInt8[np.ndarray, "*batch height width 3"]:
    """The view that is the image mirrored left to right."""
    return images[..., ::-1, :]


VIEWS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"crop": unchanged, "flip": flip}


def to_model(
    images: UInt8[np.ndarray, "batch height width 3"], device: torch.device | None = None
) -> Float[Tensor, "batch 3 height width"]:
    """Images as a model takes them, x/127.5 − 1: 0 … 255 -> [-1, 1].

    Bytes travel to the device and become floats there, which are four times as long.
    """
    pixels = torch.from_numpy(np.ascontiguousarray(images))
    if device is not None and device.type == "cuda":
        pixels = pixels.pin_memory().to(device, non_blocking=True)  # While the device is at the batch before.
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1


def from_model(images: Float[Tensor, "batch 3 height width"]) -> UInt8[np.ndarray, "batch height width 3"]:
    """Images as a model gives them, as bytes on the host: [-1, 1] -> 0 … 255, by `to_uint8`.

    Raises:
        BadInput: there are NaNs, which would become a colour.
    """
    if bool(images.isnan().any()):
        raise BadInput(BROKEN_IMAGES)
    return to_uint8(images).cpu().numpy()


def to_png(image: UInt8[np.ndarray, "height width 3"]) -> bytes:
    """The bytes of a PNG file of an image."""
    return _saved(image, "PNG")


def to_webp(image: UInt8[np.ndarray, "height width 3"]) -> bytes:
    """The bytes of a lossless WebP file of an image."""
    return _saved(image, "WEBP", lossless=True)


def to_grid(images: UInt8[np.ndarray, "batch height width 3"], columns: int) -> UInt8[np.ndarray, "height width 3"]:
    """One image of several side by side, row by row, `GRID_GAP` white pixels apart."""
    num, height, width, _ = images.shape
    rows, down, right = -(-num // columns), height + GRID_GAP, width + GRID_GAP
    grid = np.full((rows * down - GRID_GAP, columns * right - GRID_GAP, 3), 255, np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * down, index % columns * right
        grid[top : top + height, left : left + width] = image
    return grid


def _saved(image: UInt8[np.ndarray, "height width 3"], kind: str, **options: bool) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


def check_file_size(num_bytes: int) -> BadImage | None:
    """Why a stored image of so many bytes is not read; None where it is."""
    if num_bytes <= MAX_FILE_BYTES:
        return None
    return BadImage(f"has {num_bytes:,} bytes, more than the {MAX_FILE_BYTES:,} that an image may have")


def _decode(data: bytes, max_pixels: int) -> Image.Image:
    if not data:
        raise BadImage("is empty")
    if (too_long := check_file_size(len(data))) is not None:
        raise too_long
    try:
        # Opening reads the header alone, so that a decompression bomb is refused before it is decoded.
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.UnidentifiedImageError as error:
        raise BadImage(_why_unidentified(data)) from error
    if image.width * image.height > max_pixels:
        raise BadImage(f"{image.width} × {image.height} is more than {max_pixels:,} pixels")
    # An MPO is a photograph with others beside it (a preview, the other eye); the first is the photograph.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        raise BadImage("is animated, or holds several pictures")
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        raise BadImage(f"has more than 8 bits of grey (mode {image.mode})")
    if image.mode != "RGB":
        return image.convert("RGB")
    image.load()  # As `convert` would, but without a copy.
    return image


def _why_unidentified(data: bytes) -> str:
    """What Pillow says of an image whose format it knows by the first bytes, which it only logs when it opens one."""
    for name in FORMATS:
        factory, accept = Image.OPEN[name]
        if accept is not None and accept(data[:16]) is True:
            try:
                factory(io.BytesIO(data), "")
            except Exception as error:  # As above, of any kind.
                return one_line(f"can't be decoded as {name}: {error or type(error).__name__}")
    return f"is none of {', '.join(FORMATS)}"


def _crop(image: Image.Image, size: int, max_pixels: int) -> UInt8[np.ndarray, "size size 3"]:
    while min(image.size) >= 2 * size:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = size / min(image.size)
    image = _resized(image, round(image.width * scale), round(image.height * scale), max_pixels)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size)))


def _resized(image: Image.Image, width: int, height: int, max_pixels: int) -> Image.Image:
    if width * height > max_pixels:
        raise BadImage(f"{image.width} × {image.height} is too narrow to be resized to {width} × {height}")
    return image.resize((width, height), Image.Resampling.BICUBIC)
