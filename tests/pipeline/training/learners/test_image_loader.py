"""Crops of images, from memory and from files, and images that are broken."""

from pathlib import Path

import numpy as np
import pytest

from bar_model.errors import BadInput
from pipeline.training.learners.image_loader import ImageLoader, list_images, open_images
from pipeline.training.step.batches import Rows, in_order
from tests.harness.tokenizer_training import (
    SIZE,
    write_pictures,
)


def rows(indices: list[int], chance: list[int]) -> Rows:
    return Rows(np.array(indices), np.zeros(len(indices), np.int64), np.array(chance, np.uint64))


@pytest.mark.parametrize("memory_gb", [1.0, 0.0])
def test_crops_are_what_chance_says_from_memory_as_from_files(tmp_path: Path, memory_gb: float) -> None:
    pictures, broken = open_images(list_images(write_pictures(tmp_path, width=12)), SIZE, memory_gb=memory_gb)
    assert (pictures.decoded is None, broken) == (memory_gb == 0, [])
    loader = ImageLoader(pictures, flip=True)
    loader.announce([1, 2])
    # Bit 0 mirrors; the offset to the left is in the bits from 33 on, modulo the five places there are.
    crops = loader.crops(rows([0, 0, 0, 2], [0, 3 << 33, 1, 6 << 33]))
    greys = crops[:, 0, :, 0].astype(int)
    assert greys[0].tolist() == [0, 4, 8, 12, 16, 20, 24, 28]
    assert greys[1].tolist() == (greys[0] + 12).tolist()
    assert greys[2].tolist() == greys[0, ::-1].tolist()
    assert greys[3].tolist() == (greys[0] + 4 + 4).tolist()  # Picture 002.png is the third in its class's order.
    assert loader.centres(in_order(0, 1))[0, 0, :, 0].tolist() == (greys[0] + 8).tolist()
    unmirrored = ImageLoader(pictures, flip=False)
    np.testing.assert_array_equal(unmirrored.crops(rows([0], [1]))[0], crops[0])


@pytest.mark.parametrize("memory_gb", [1.0, 0.0])
def test_a_broken_picture_does_not_stop_the_training(tmp_path: Path, memory_gb: float) -> None:
    write_pictures(tmp_path)
    (tmp_path / "class-0" / "002.png").write_bytes(b"no picture")
    pictures, broken = open_images(list_images(str(tmp_path)), SIZE, memory_gb=memory_gb)
    loader = ImageLoader(pictures, flip=False)
    crops = loader.crops(in_order(0, loader.num_rows))
    assert len(crops) == 12
    np.testing.assert_array_equal(crops[1], crops[2])
    assert (len(broken), loader.num_broken) == (1 if memory_gb else 0, 1)
    for name in (path.name for path in tmp_path.rglob("*.png")):
        next(tmp_path.rglob(name)).write_bytes(b"no picture")
    with pytest.raises(BadInput, match="none of its 12 images"):
        open_images(list_images(str(tmp_path)), SIZE, memory_gb=1.0)
