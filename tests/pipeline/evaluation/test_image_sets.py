"""Galleries and references: npz files read piece by piece, and what is wrong with one."""

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bar_model.errors import BadInput
from pipeline.evaluation import image_sets
from pipeline.evaluation.image_sets import FolderImageSet, ImageSet, NpzImageSet, image_set_fingerprint, open_image_set
from pipeline.execution.records import Records
from pipeline.images.codec import decode_and_crop, to_png
from tests.harness.trap import Trap

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (23, 8, 8, 3), dtype=np.uint8)
MEAN, COVARIANCE = np.arange(4.0), np.diag(np.arange(1.0, 5.0))


def contents(image_set: ImageSet) -> tuple[list[str], np.ndarray]:
    rows = [image_set.read(unit) for unit in image_set.plan()]
    keys = [key for row in rows for key in Records.from_json(row["records"]).keys]
    return keys, np.concatenate([row["images"] for row in rows])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_is_read_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save) -> None:
    monkeypatch.setattr(image_sets, "UNIT_SIZE", 10)
    save(tmp_path / "a.npz", arr_0=IMAGES, mu=MEAN)
    monkeypatch.chdir(tmp_path)
    image_set = open_image_set("a.npz", 8)
    monkeypatch.chdir("/")  # Workers have another working directory.
    assert [unit.size for unit in image_set.plan()] == [10, 10, 3]
    keys, images = contents(image_set)
    assert keys == [str(index) for index in range(23)]
    np.testing.assert_array_equal(images, IMAGES)


def test_a_folder_is_cropped_to_the_size_asked_for(tmp_path: Path) -> None:
    for index, image in enumerate(IMAGES[:6]):
        path = tmp_path / "ab"[index % 2] / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(to_png(image))
    image_set = open_image_set(str(tmp_path), 6)
    assert isinstance(image_set, FolderImageSet)
    keys, images = contents(image_set)
    assert keys == ["a/0.png", "a/2.png", "a/4.png", "b/1.png", "b/3.png", "b/5.png"]
    np.testing.assert_array_equal(images[3], decode_and_crop(to_png(IMAGES[1]), 6))
    before = image_set_fingerprint(image_set)
    assert before != image_set_fingerprint(open_image_set(str(tmp_path), 7))
    (tmp_path / "b" / "1.png").write_bytes(to_png(np.vstack([IMAGES[1], IMAGES[2]])))
    assert before != image_set_fingerprint(open_image_set(str(tmp_path), 6))
    with pytest.raises(BadInput, match="holds no finished samples"):
        open_image_set(str(tmp_path))


def test_a_list_of_urls_reaches_no_more_than_its_own_folder(tmp_path: Path) -> None:
    for name in ("a.png", "set/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(to_png(IMAGES[0]))
    (tmp_path / "set" / "list.csv").write_text(f"url,label\nb.png,0\n{tmp_path}/a.png,1\nhttp://127.0.0.1:1/c.png,1\n")
    image_set = open_image_set(str(tmp_path / "set" / "list.csv"), 6)
    (unit,) = image_set.plan()
    records = Records.from_json(image_set.read(unit)["records"])
    assert records.keys == ["b.png"]
    assert all("--allow" in item.why for item in records.quarantined)
    assert len(records.quarantined) == 2


def test_an_npz_that_can_not_be_used_is_refused_and_never_unpickled(tmp_path: Path) -> None:
    path = str(tmp_path / "a.npz")
    for arrays, message in [
        ({"arr_0": IMAGES.astype(np.float32)}, r"float32 \(23, 8, 8, 3\); square pictures"),
        ({"arr_0": IMAGES[..., :1]}, "square pictures"),
        ({"arr_0": IMAGES[:, :4]}, "square pictures"),
        ({"arr_0": IMAGES[:0]}, "square pictures"),
        ({"arr_0": np.array([Trap()], object)}, "square pictures"),
        ({"mu": MEAN}, r"holds no pictures \(arr_0\), only mu"),
    ]:
        np.savez(path, **arrays)
        with pytest.raises(BadInput, match=message):
            list(NpzImageSet(path).plan())
    np.savez(path, arr_0=IMAGES)
    with pytest.raises(BadInput, match="of 8 px, but 256 px are needed"):
        open_image_set(path, 256)
    Path(path).write_bytes(pickle.dumps(1))
    with pytest.raises(BadInput, match="no npz file"):
        open_image_set(path, 8)


def test_a_single_array_is_told_how_to_be_given(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", IMAGES)
    for size in (None, 8):
        with pytest.raises(BadInput, match=r"a\.npy is a single array: store it as np\.savez\(FILE, arr_0=images\)"):
            open_image_set(str(tmp_path / "a.npy"), size)


def flipped(data: bytes) -> bytes:
    """One bit of the pixels is another."""
    place = len(data) // 2
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    "damage",
    [flipped, lambda data: data[:-30], lambda data: data[: len(data) // 2], lambda data: data[:3], lambda _: b""],
    ids=["flipped", "short", "half", "start", "empty"],
)
def test_a_damaged_npz_is_one_line_that_names_it(tmp_path: Path, save, damage) -> None:
    file = tmp_path / "a.npz"
    save(file, arr_0=IMAGES)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(BadInput, match=r"a\.npz is no npz file, or damaged") as caught:  # noqa: PT012
        image_set = open_image_set(str(file), 8)
        assert isinstance(image_set, NpzImageSet)
        image_set.check_content()
    assert "\n" not in str(caught.value)


def test_images_that_are_fewer_than_their_header_says_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "arr_0.npy", IMAGES)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("arr_0.npy", (tmp_path / "arr_0.npy").read_bytes()[:-5])
    with pytest.raises(BadInput, match=r"damaged: arr_0 has 4,411 bytes for shape \(23, 8, 8, 3\)"):
        open_image_set(str(tmp_path / "a.npz"), 8)


def test_equal_images_have_equal_content_however_they_are_kept(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", arr_0=IMAGES)
    np.savez_compressed(tmp_path / "b.npz", arr_0=IMAGES, other=MEAN)
    np.savez(tmp_path / "c.npz", arr_0=IMAGES[::-1])
    one, same, other = (NpzImageSet(str(tmp_path / f"{name}.npz")).content for name in "abc")
    assert one == same
    assert one != other
