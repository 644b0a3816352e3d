"""Pictures as the published tokenizing sees them, and those that can't be used."""

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.images import codec
from pipeline.images.codec import VIEWS, BadImage, decode_and_crop, from_model, to_grid, to_model, to_png


def picture(width: int, height: int, seed: int = 0, mode: str = "RGB") -> Image.Image:
    """Smooth random colours, which resizing and JPEG treat as they do a photograph's."""
    noise = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def reference_crop(image: Image.Image, size: int) -> np.ndarray:
    """Method.md, section 2, on arrays: cropped after the resize, as guided diffusion's centre crop."""
    while min(image.size) >= 2 * size:
        image = image.resize((image.width // 2, image.height // 2), resample=Image.Resampling.BOX)
    scale = size / min(image.size)
    sides = (round(image.width * scale), round(image.height * scale))
    pixels = np.array(image.resize(sides, Image.Resampling.BICUBIC))
    top, left = (pixels.shape[0] - size) // 2, (pixels.shape[1] - size) // 2
    return pixels[top : top + size, left : left + size]


@pytest.mark.parametrize(
    "shape", [(64, 64), (500, 375), (375, 500), (128, 127), (63, 200), (32, 32), (20, 31), (1, 1), (10, 10_000)]
)
def test_the_crop_is_the_published_one(shape: tuple[int, int]) -> None:
    image = picture(*shape)
    crop = decode_and_crop(encoded(image), 32)
    assert crop.shape == (32, 32, 3)
    assert crop.dtype == np.uint8
    np.testing.assert_array_equal(crop, reference_crop(image, 32))


def test_both_sides_are_rounded_and_the_odd_pixel_is_cut_at_the_end() -> None:
    # 21 × 34 -> 16 × 25.9: rounded up to 26, of which 5 go above and 5 below; 21 × 33 -> 16 × 25: 4 above, 5 below.
    for height, top in [(34, 5), (33, 4)]:
        image = picture(21, height)
        rounded = image.resize((16, round(height * 16 / 21)), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(decode_and_crop(encoded(image), 16), np.array(rounded)[top : top + 16])


@pytest.mark.parametrize("mode", ["L", "1", "LA", "RGBA", "P", "CMYK"])
def test_colour_becomes_rgb_as_pillow_converts_it(mode: str) -> None:
    data = encoded(picture(40, 40, mode=mode), "TIFF" if mode == "CMYK" else "PNG")
    expected = reference_crop(Image.open(io.BytesIO(data)).convert("RGB"), 32)
    np.testing.assert_array_equal(decode_and_crop(data, 32), expected)


def test_a_palette_with_transparency_is_used() -> None:
    data = encoded(picture(40, 40).quantize(16), transparency=bytes(range(16)))
    assert decode_and_crop(data, 32).shape == (32, 32, 3)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "BMP", "PPM", "GIF", "AVIF", "TIFF", "MPO"])
def test_the_content_decides_the_format(kind: str) -> None:
    assert decode_and_crop(encoded(picture(40, 40), kind), 32).shape == (32, 32, 3)


def test_inverted_cmyk_jpegs_come_out_as_they_look() -> None:
    image = picture(64, 64)
    pixels = decode_and_crop(encoded(image.convert("CMYK"), "JPEG", quality=95), 64).astype(int)
    assert np.abs(pixels - np.asarray(image, int)).mean() < 4


def ycck(image: Image.Image) -> bytes:
    """As Photoshop writes it: one byte says to libjpeg that the first three of four inks are Y, Cb and Cr."""
    luma = np.asarray(Image.fromarray(255 - np.asarray(image)).convert("YCbCr"))
    inks = 255 - np.concatenate([luma, np.full_like(luma[..., :1], 255)], axis=-1)
    data = bytearray(encoded(Image.frombytes("CMYK", image.size, inks.tobytes()), "JPEG", quality=95))
    data[data.index(b"Adobe") + 11] = 2
    return bytes(data)


def test_ycck_jpegs_come_out_as_they_look() -> None:
    image = picture(64, 64)
    pixels = decode_and_crop(ycck(image), 64).astype(int)
    assert np.abs(pixels - np.asarray(image, int)).mean() < 4


def test_orientation_in_exif_is_ignored() -> None:
    image = picture(60, 40)
    exif = Image.Exif()
    exif[0x0112] = 6
    plain, turned = encoded(image, "JPEG"), encoded(image, "JPEG", exif=exif.tobytes())
    np.testing.assert_array_equal(decode_and_crop(turned, 32), decode_and_crop(plain, 32))


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def animation(kind: str) -> bytes:
    frames = [picture(40, 40, seed) for seed in range(3)]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:])


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"just a text", "is none of JPEG"),
        (encoded(picture(300, 300), "JPEG")[:4000], "truncated"),
        (encoded(picture(64, 64))[:300], "can't be decoded"),
        (png_header(100_000, 100_000), "pixels"),
        (png_header(12_000, 9_000), "more than 89,478,485 pixels"),
        (png_header(64, 64), "can't be decoded"),
        (encoded(picture(1, 100_000)), "too narrow"),
        (animation("GIF"), "animated"),
        (animation("WEBP"), "animated"),
        (encoded(Image.fromarray(np.full((40, 40), 4000, np.uint16))), "more than 8 bits"),
        (encoded(Image.fromarray(np.full((40, 40), 0.5, np.float32)), "TIFF"), "more than 8 bits"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "is none of JPEG"),
    ],
)
def test_what_is_wrong_is_said(data: bytes, why: str) -> None:
    with pytest.raises(BadImage, match=why):
        decode_and_crop(data, 32)


def in_twelve_bits(data: bytes) -> bytes:
    """A JPEG that says of itself that it has 12 bits a sample."""
    place = data.index(b"\xff\xc0") + 4
    return data[:place] + b"\x0c" + data[place + 1 :]


def with_text(data: bytes, checksum: bytes) -> bytes:
    """A PNG with a tEXt chunk behind its header."""
    return data[:33] + struct.pack(">I", 5) + b"tEXta\0abc" + checksum + data[33:]


def with_tag(data: bytes, tag: int, value: int) -> bytes:
    """A little-endian TIFF in which a tag of 16 bits has another value."""
    place = data.index(struct.pack("<HHI", tag, 3, 1)) + 8
    return data[:place] + struct.pack("<H", value) + data[place + 2 :]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (with_text(encoded(picture(40, 40)), b"bad!"), "can't be decoded as PNG: broken PNG file"),
        (in_twelve_bits(encoded(picture(40, 40), "JPEG")), "can't be decoded as JPEG: cannot handle 12-bit layers"),
        (with_tag(encoded(picture(40, 40), "TIFF"), 262, 9999), "can't be decoded as TIFF: unknown pixel mode"),
        (encoded(picture(40, 40))[:20], "can't be decoded: Truncated File Read"),
        (b"\xff\xd8\xff", "can't be decoded as JPEG"),
        (b"BM" + bytes(60), "can't be decoded: Unsupported BMP header type"),
    ],
)
def test_where_the_format_is_known_the_reason_is_pillows(data: bytes, why: str) -> None:
    with pytest.raises(BadImage, match=why):
        decode_and_crop(data, 32)


def test_a_tiff_is_turned_as_its_orientation_says_and_others_are_not() -> None:
    """Pillow turns TIFFs when it decodes them, and so does the published loader, which is Pillow's."""
    image, exif = picture(60, 40), Image.Exif()
    exif[0x0112] = 6
    turned = decode_and_crop(encoded(image, "TIFF", exif=exif), 32)
    upright = image.transpose(Image.Transpose.ROTATE_270)
    np.testing.assert_array_equal(turned, decode_and_crop(encoded(upright), 32))
    as_png = decode_and_crop(encoded(image, "PNG", exif=exif), 32)
    np.testing.assert_array_equal(as_png, decode_and_crop(encoded(image), 32))


def test_the_most_pixels_and_bytes_are_a_matter_of_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(picture(40, 30))
    assert decode_and_crop(data, 16, max_pixels=1200).shape == (16, 16, 3)
    with pytest.raises(BadImage, match="40 × 30 is more than 1,199 pixels"):
        decode_and_crop(data, 16, max_pixels=1199)
    monkeypatch.setattr(codec, "MAX_FILE_BYTES", len(data) - 1)
    with pytest.raises(BadImage, match=rf"has {len(data):,} bytes, more than the {len(data) - 1:,}"):
        decode_and_crop(data, 16)


def test_any_damage_is_a_bad_image_or_none() -> None:
    whole = {kind: bytearray(encoded(picture(60, 50), kind)) for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")}
    chance = np.random.default_rng(0)
    for data in whole.values():
        for _ in range(60):
            damaged = bytearray(data)
            for place in chance.integers(0, len(data), 4):
                damaged[place] = chance.integers(0, 256)
            with contextlib.suppress(BadImage):
                assert decode_and_crop(bytes(damaged), 32).shape == (32, 32, 3)


def test_views() -> None:
    images = np.stack([decode_and_crop(encoded(picture(40, 40, seed)), 32) for seed in range(2)])
    np.testing.assert_array_equal(VIEWS["crop"](images), images)
    np.testing.assert_array_equal(VIEWS["flip"](images)[1, :, 0], images[1, :, -1])
    np.testing.assert_array_equal(VIEWS["flip"](VIEWS["flip"](images)), images)


def test_to_the_model_and_back() -> None:
    images = np.arange(2 * 16 * 16 * 3, dtype=np.uint8).reshape(2, 16, 16, 3)
    tensor = to_model(images)
    assert tensor.shape == (2, 3, 16, 16)
    assert tensor.dtype == torch.float32
    assert tensor.min() == -1
    assert tensor.max() == 1
    # Truncation, which the published protocol prescribes, may take what rounding in float32 left just below.
    assert np.abs(from_model(tensor).astype(int) - images).max() <= 1
    np.testing.assert_array_equal(from_model(torch.full((1, 3, 1, 1), 1.7)), 255)


def test_bytes_are_truncated_as_published_and_no_nan_becomes_a_colour() -> None:
    shares = torch.tensor([0.0, 0.999, 1.0])
    pixels = from_model((shares * 2 - 1).reshape(3, 1, 1, 1).expand(3, 3, 1, 1))
    assert pixels[:, 0, 0, 0].tolist() == [0, 254, 255]
    with pytest.raises(ValueError, match="NaN"):
        from_model(torch.tensor([0.5, torch.nan, 0.5]).reshape(1, 3, 1, 1))


def test_a_grid_keeps_every_picture() -> None:
    images = np.random.default_rng(0).integers(0, 255, (5, 8, 8, 3), dtype=np.uint8)
    grid = to_grid(images, columns=3)
    assert grid.shape == (18, 28, 3)
    np.testing.assert_array_equal(grid[10:18, 10:18], images[4])
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(to_png(grid)))), grid)
