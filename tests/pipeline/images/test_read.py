"""Images of a source are cropped, and those that can't be used are kept apart with their reasons."""

from pathlib import Path

import numpy as np

from pipeline.execution.manifest import Quarantined
from pipeline.execution.records import Records
from pipeline.images.class_folders import ImageFolder
from pipeline.images.codec import decode_and_crop
from pipeline.images.read import read_images
from pipeline.storage import Folder
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
