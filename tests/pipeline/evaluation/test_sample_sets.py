"""Which samples make a set: each once, halves of one seed as one, and what lacks or overlaps is named before work."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from bar_model.errors import BadInput
from pipeline.evaluation.image_sets import SampleImageSet, image_set_fingerprint
from pipeline.evaluation.sample_sets import sample_inputs, sample_sets
from pipeline.execution.records import Records
from tests.harness.sample_folders import save_samples, some_images


def test_halves_of_one_seed_are_one_set_in_any_order(tmp_path: Path) -> None:
    second, first = save_samples(tmp_path / "b", 3, range(4, 7)), save_samples(tmp_path / "a", 3, range(4), size=3)
    other = save_samples(tmp_path / "other", 4, range(7))
    sets = sample_sets([second, other, first], None)
    assert list(sets) == [f"{first} + {second}", other]
    joint = sets[f"{first} + {second}"]
    assert isinstance(joint, SampleImageSet)
    rows = [joint.read(unit) for unit in joint.plan()]
    assert [key for row in rows for key in Records.from_json(row["records"]).keys] == list(map(str, range(7)))
    images = np.concatenate([row["images"] for row in rows])
    np.testing.assert_array_equal(images, np.concatenate((some_images(4, 3), some_images(3, 3))))
    assert image_set_fingerprint(joint) != image_set_fingerprint(sets[other])
    inputs = list(sample_inputs([second, other, first], sets, {}))
    assert [each.url for each in inputs] == [first, second, other]
    assert len({each.fingerprint for each in inputs}) == 3


def test_a_folder_alone_is_the_set_that_it_was(tmp_path: Path) -> None:
    url = save_samples(tmp_path / "a", 3)
    (image_set,) = sample_sets([url], None).values()
    assert isinstance(image_set, SampleImageSet)
    assert image_set.identity == {"kind": "samples", "fingerprint": image_set.samples.manifest.fingerprint}
    assert all("part" not in unit.payload for unit in image_set.plan())


def twice(folder: Path) -> list[str]:
    return [save_samples(folder / "a", 0)] * 2


def copied(folder: Path) -> list[str]:
    shutil.copytree(save_samples(folder / "a", 0), folder / "b")
    return [str(folder / "a"), str(folder / "b")]


def overlapping(folder: Path) -> list[str]:
    return [save_samples(folder / "a", 0, range(5)), save_samples(folder / "b", 0, range(4, 7))]


def with_a_gap(folder: Path) -> list[str]:
    return [save_samples(folder / "a", 0, range(3)), save_samples(folder / "b", 0, range(5, 7))]


def without_a_beginning(folder: Path) -> list[str]:
    return [save_samples(folder / "a", 0, range(10, 17))]


def same_npz(folder: Path) -> list[str]:
    np.savez(folder / "a.npz", arr_0=some_images(4, 0))
    shutil.copy(folder / "a.npz", folder / "b.npz")
    return [str(folder / "a.npz"), str(folder / "b.npz")]


def same_pictures(folder: Path) -> list[str]:
    np.savez(folder / "a.npz", arr_0=some_images(4, 0))
    np.savez_compressed(folder / "b.npz", arr_0=some_images(4, 0), mu=np.zeros(3))
    return [str(folder / "a.npz"), str(folder / "b.npz")]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (twice, "a is named twice"),
        (copied, "a and .*b hold the same pictures"),
        (same_npz, r"a\.npz and .*b\.npz hold the same pictures"),
        (same_pictures, r"a\.npz and .*b\.npz hold the same pictures"),
        (overlapping, "two sets are of one seed, and .*b begins with image 4, which another one holds"),
        (with_a_gap, "b begins with image 5, but samples are judged from 0 on, each once: draw 3 to 4, too"),
        (without_a_beginning, "a begins with image 10, .*: draw 0 to 9, too, and give both folders"),
    ],
)
def test_what_makes_no_sets_is_refused(tmp_path: Path, given, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        sample_sets(given(tmp_path), None)
