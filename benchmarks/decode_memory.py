"""What decoding one image takes, in bytes a pixel beyond its file: the peak of a fresh process, by format and mode.

python -m benchmarks.decode_memory [--pixels 16000000]

`pipeline.images.codec.DECODE_BYTES_A_PIXEL` is what a reader reserves for it; the last line says whether that suffices.
"""

import argparse
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.images.codec import DECODE_BYTES_A_PIXEL, decode_and_crop

CASES: dict[str, tuple[str, str, dict]] = {
    "JPEG": ("JPEG", "RGB", {}),
    "JPEG, progressive": ("JPEG", "RGB", {"progressive": True, "subsampling": 0}),
    "JPEG, CMYK": ("JPEG", "CMYK", {}),
    "JPEG, progressive CMYK": ("JPEG", "CMYK", {"progressive": True}),
    "PNG": ("PNG", "RGB", {"compress_level": 1}),
    "PNG, grey": ("PNG", "L", {"compress_level": 1}),
    "PNG, palette": ("PNG", "P", {"compress_level": 1}),
    "PNG, transparent": ("PNG", "RGBA", {"compress_level": 1}),
    "WebP": ("WEBP", "RGB", {"method": 0}),
    "WebP, lossless and transparent": ("WEBP", "RGBA", {"lossless": True, "method": 0}),
    "GIF": ("GIF", "P", {}),
    "BMP": ("BMP", "RGB", {}),
    "TIFF": ("TIFF", "RGB", {}),
    "TIFF, LZW": ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    "TIFF, one strip": ("TIFF", "RGB", {"compression": "tiff_lzw", "tiffinfo": {278: 1_000_000}}),
    "TIFF, CMYK": ("TIFF", "CMYK", {}),
    "PPM": ("PPM", "RGB", {}),
    "AVIF": ("AVIF", "RGB", {"speed": 10}),
}
SIZE = 256


def encode(case: str, num_pixels: int) -> bytes:
    """A square image of so many pixels: noise, repeated, so that it is neither trivial nor slow."""
    kind, mode, options = CASES[case]
    side = int(num_pixels**0.5)
    tile = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    pixels = np.tile(tile, (-(-side // 256), -(-side // 256), 1))[:side, :side]
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind, **options)
    return file.getvalue()


def decode(case: str) -> None:
    """Decodes the file on the standard input; prints what that took beyond what the process held before."""
    kind, mode, options = CASES[case]
    warm = io.BytesIO()
    Image.new(mode, (64, 64)).save(warm, kind, **options)
    decode_and_crop(warm.getvalue(), SIZE)
    data = sys.stdin.buffer.read()
    Path("/proc/self/clear_refs").write_text("5")  # The peak counts from here.
    before = memory("VmRSS")
    decode_and_crop(data, SIZE)
    print(memory("VmHWM") - before)


def memory(name: str) -> int:
    """A figure of this process in bytes: `VmRSS`, what it holds, or `VmHWM`, the most it has held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def main() -> None:
    """Measures each case in a process of its own, and compares the greatest with what is reserved."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pixels", type=int, default=16_000_000)
    num_pixels = parser.parse_args().pixels
    most = 0.0
    for case in CASES:
        data = encode(case, num_pixels)
        command = [sys.executable, "-m", "benchmarks.decode_memory", "--decode", case]
        done = subprocess.run(command, input=data, capture_output=True, check=True)
        a_pixel = int(done.stdout) / num_pixels
        most = max(most, a_pixel)
        print(f"{case:32} {len(data) / 1e6:8.1f} MB  {a_pixel:5.1f} bytes a pixel", flush=True)
    verdict = "suffice" if most <= DECODE_BYTES_A_PIXEL else "DO NOT SUFFICE"
    print(f"{DECODE_BYTES_A_PIXEL} bytes a pixel are reserved, and {verdict}: {most:.1f} at most")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--decode"]:
        decode(sys.argv[2])
    else:
        main()
