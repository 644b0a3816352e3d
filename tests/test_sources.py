"""Image folders: what is planned, in which order, and what is read."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bar_model.errors import BadInput
from pipeline.images import BadImage
from pipeline.sources import ImageFolder, Item, read_classes
from pipeline.storage import Folder
from pipeline.units import Unit

pytest_plugins = ["tests.fixtures_s3"]


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


NAMES = ["cat/1.png", "cat/2.JPEG", "dog/a b'é\".png", "dog/deep/er/3.PNG", "ox/4.webp"]


@pytest.fixture(params=["disk", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    folder = Folder(str(tmp_path / "images") if request.param == "disk" else request.getfixturevalue("s3_folder"))
    for seed, name in enumerate(NAMES):
        folder.write(name, picture(seed))
    for name in ["README.md", "loose.png", "cat/.hidden.png", "cat/notes.txt"]:
        folder.write(name, b"no picture")
    return folder


def items(source: ImageFolder, unit_size: int = 2) -> list[Item]:
    return [item for unit in source.plan(unit_size) for item in source.read(unit)]


def test_every_picture_is_read_once_in_order(folder: Folder) -> None:
    source = ImageFolder.open(folder.url)
    units = list(source.plan(2))
    assert [(unit.index, unit.size) for unit in units] == [(0, 2), (1, 2), (2, 1)]
    read = items(source)
    assert [item.key for item in read] == NAMES
    assert [item.label for item in read] == [0, 0, 1, 1, 2]
    assert [item.data for item in read] == [picture(seed) for seed in range(5)]
    assert read[3].where == f"{folder.url}/dog/deep/er/3.PNG"
    assert [item for unit in units for item in source.read(Unit.from_json(unit.to_json()))] == read


def test_the_plan_is_a_function_of_what_is_stored(folder: Folder) -> None:
    before = [unit.digest for unit in ImageFolder.open(folder.url).plan(2)]
    assert [unit.digest for unit in ImageFolder.open(folder.url).plan(2)] == before
    folder.write("dog/deep/er/3.PNG", picture(9))
    after = [unit.digest for unit in ImageFolder.open(folder.url).plan(2)]
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False, True]


def test_a_picture_that_is_gone_is_told_of(folder: Folder) -> None:
    source = ImageFolder.open(folder.url)
    units = list(source.plan(9))
    folder.remove("cat/1.png")
    gone, *others = source.read(units[0])
    assert isinstance(gone.data, BadImage)
    assert "FileNotFoundError" in str(gone.data)
    assert all(isinstance(item.data, bytes) for item in others)


def test_labels_can_be_given(folder: Folder) -> None:
    classes = {"ox": 7, "cat": 9, "dog": 8, "yak": 1}
    source = ImageFolder.open(folder.url, classes)
    assert [item.label for item in items(source)] == [9, 9, 8, 8, 7]
    assert source.identity == {"kind": "image folder", "url": folder.url, "classes": {"cat": 9, "dog": 8, "ox": 7}}
    with pytest.raises(BadInput, match="no label for 'ox'"):
        ImageFolder.open(folder.url, {"cat": 0, "dog": 1})


def test_an_empty_class_keeps_its_label(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    (tmp_path / "c" / "1.png").write_bytes(picture(0))
    assert [item.label for item in items(ImageFolder.open(str(tmp_path)))] == [2]


def test_awkward_names_and_links_on_a_disk(tmp_path: Path) -> None:
    awkward = ["new\nline.png", "undecodable\udcff.png", "%41?#[x]*.png", "-rf.png"]
    (tmp_path / "images" / "c").mkdir(parents=True)
    for name in awkward:
        (tmp_path / "images" / "c" / name).write_bytes(picture(0))
    (tmp_path / "images" / "c" / "loop").symlink_to(tmp_path / "images")
    read = items(ImageFolder.open(str(tmp_path / "images")))
    told = {item.key: item.data for item in read}
    undecodable = told.pop("c/undecodable\\udcff.png")
    assert isinstance(undecodable, BadImage)
    assert set(told) == {f"c/{name}" for name in awkward if "\udcff" not in name}
    assert set(told.values()) == {picture(0)}


def test_folders_without_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is not there"):
        ImageFolder.open(str(tmp_path / "nothing"))
    (tmp_path / "1.png").write_bytes(picture(0))
    with pytest.raises(BadInput, match="holds no class folders"):
        ImageFolder.open(str(tmp_path))


def test_a_class_map_is_read_from_json(tmp_path: Path) -> None:
    path = tmp_path / "classes.json"
    path.write_text(json.dumps({"cat": 3}))
    assert read_classes(str(path)) == {"cat": 3}
    for wrong in ("{", "[1]", '{"cat": -1}', '{"cat": "3"}', '{"cat": true}'):
        path.write_text(wrong)
        with pytest.raises(BadInput, match="labels"):
            read_classes(str(path))
    with pytest.raises(BadInput, match=r"nothing.json"):
        read_classes(str(tmp_path / "nothing.json"))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 7), max_size=4), st.integers(1, 9))
def test_units_cover_a_folder_exactly(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], unit_size: int
) -> None:
    root = tmp_path_factory.mktemp("images")
    for label, size in enumerate(sizes):
        (root / f"c{label}").mkdir()
        for number in range(size):
            (root / f"c{label}" / f"{number}.png").touch()
    (root / "z").mkdir()
    units = list(ImageFolder.open(str(root)).plan(unit_size))
    assert [key for unit in units for key, *_ in unit.payload] == sorted(
        f"c{label}/{number}.png" for label, size in enumerate(sizes) for number in range(size)
    )
    assert all(unit.size == len(unit.payload) == unit_size for unit in units[:-1])
