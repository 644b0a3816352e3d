"""The digits as an image folder."""

from pathlib import Path

import numpy as np
import pytest

from bar_model.errors import BadInput
from pipeline.digits.data import SPLITS, enlarge, split, write_digits
from pipeline.digits.reader import DigitsReader, features_8x8
from pipeline.images.class_folders import ImageFolder
from pipeline.storage import Folder


def test_the_folder_has_imagenets_layout(tmp_path: Path) -> None:
    write_digits(str(tmp_path))
    before = list(Folder(str(tmp_path)).walk())
    assert len(before) == 1797
    for name, num in SPLITS.items():
        source = ImageFolder.open(str(tmp_path / name))
        assert source.classes == {str(digit): digit for digit in range(10)}
        assert len(list(source.listing())) == num
    write_digits(str(tmp_path))
    assert list(Folder(str(tmp_path)).walk()) == before
    with pytest.raises(BadInput, match=r"which seed 1 does not put there"):
        write_digits(str(tmp_path), seed=1)
    assert list(Folder(str(tmp_path)).walk()) == before


def test_every_class_is_split_in_proportion_and_by_the_seed_alone() -> None:
    labels = np.arange(1797) % 10
    parts = split(labels, seed=0)
    assert {name: len(rows) for name, rows in parts.items()} == SPLITS
    assert sorted(np.concatenate(list(parts.values()))) == list(range(1797))
    assert all(np.ptp(np.bincount(labels[rows])) <= 2 for rows in parts.values())
    np.testing.assert_array_equal(split(labels, seed=0)["test"], parts["test"])
    assert not np.array_equal(split(labels, seed=1)["test"], parts["test"])


def test_enlarged_scans_are_read_as_the_scans_they_were() -> None:
    from sklearn.datasets import load_digits

    scans, labels = map(np.asarray, load_digits(return_X_y=True))
    images = enlarge(scans)
    assert images.shape == (1797, 32, 32, 3)
    assert np.abs(features_8x8(images) - scans).mean() < 1
    parts = split(labels, seed=0)
    reader = DigitsReader(features_8x8(images[parts["train"]]), labels[parts["train"]])
    assert reader.accuracy(features_8x8(images[parts["test"]]), labels[parts["test"]]) >= 0.98
