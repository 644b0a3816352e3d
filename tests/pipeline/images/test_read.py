"""Images of a source are cropped, and those that can't be used are kept apart with their reasons."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.execution.manifest import Quarantined
from pipeline.execution.records import Records
from pipeline.images.class_folders import ImageFolder
from pipeline.images.codec import DECODE_BYTES_A_PIXEL, MAX_PIXELS, decode_and_crop
from pipeline.images.read import read_images, reader_memory
from pipeline.storage import Folder
from tests.harness.repository import REPOSITORY
from tests.harness.stored import picture


def test_bad_images_are_kept_apart(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    for name, data in {"a/1.png": picture(1), "a/2.png": b"", "b/3.png": picture(3)}.items():
        folder.write(name, data)
    source = ImageFolder.open(folder.url)
    row = read_images(source, list(source.listing()), 8)
    records = Records.from_json(row["records"])
    assert (records.keys, records.labels) == (["a/1.png", "b/3.png"], [0, 1])
    np.testing.assert_array_equal(row["images"], [decode_and_crop(picture(seed), 8) for seed in (1, 3)])
    assert records.quarantined == (Quarantined("a/2.png", f"{folder.url}/a/2.png", "is empty"),)


def test_no_image_is_an_array_of_none(tmp_path: Path) -> None:
    Folder(str(tmp_path)).write("a/1.png", b"no image")
    source = ImageFolder.open(str(tmp_path))
    assert read_images(source, list(source.listing()), 8)["images"].shape == (0, 8, 8, 3)


MEASURED = """
import sys
from pathlib import Path
from pipeline.images.class_folders import ImageFolder
from pipeline.images.read import read_images

def memory(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

source = ImageFolder.open(sys.argv[1])
listed = list(source.listing())
read_images(source, listed[:1], 16)
Path("/proc/self/clear_refs").write_text("5")
before = memory("VmRSS")
row = read_images(source, listed, 16)
print(memory("VmHWM") - before, len(row["images"]))
"""


@pytest.mark.long
def test_images_of_a_unit_take_the_memory_of_one(tmp_path: Path) -> None:
    """Six bombs of 9 megapixels and few bytes: they are decoded one after the other, within what is reserved."""
    num_pixels, folder = 3000 * 3000, Folder(str(tmp_path))
    folder.write("a/0.png", picture(0))
    for number, mode in enumerate(["RGB", "RGBA", "P", "L", "1", "RGB"], start=1):
        file = io.BytesIO()
        Image.new(mode, (3000, 3000)).save(file, "WEBP" if number == 6 else "PNG", lossless=True)
        folder.write(f"a/{number}.png", file.getvalue())
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, folder.url], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    peak, num = map(int, done.stdout.split())
    assert num == 7
    assert peak < DECODE_BYTES_A_PIXEL * num_pixels + 20_000_000
    assert peak > 4 * num_pixels
    assert reader_memory(512, 256) > DECODE_BYTES_A_PIXEL * MAX_PIXELS
    assert reader_memory(512, 256) - reader_memory(512, 256, num_pixels) == 17 * (MAX_PIXELS - num_pixels)
