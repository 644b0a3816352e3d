"""Folders of class folders: what is listed, in which order, and what is read; on a disk and on S3."""

import os
import tempfile
from pathlib import Path

import boto3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bar_model.errors import BadInput
from pipeline.images.class_folders import ImageFolder
from pipeline.images.codec import BadImage
from pipeline.images.image_names import IN_JUNK
from pipeline.images.left_out import LeftOut
from pipeline.images.open_source import open_source
from pipeline.images.source import listing_order
from pipeline.storage import Folder
from tests.harness.stored import IN_CLASSES, items, picture
from tests.harness.tars import tar

pytest_plugins = ["tests.harness.fixtures_s3"]


@pytest.fixture
def folder(any_folder: Folder) -> Folder:
    for seed, name in enumerate(IN_CLASSES):
        any_folder.write(name, picture(seed))
    for name in ["README.md", "loose.png", "cat/.hidden.png", "cat/notes.txt"]:
        any_folder.write(name, b"no picture")
    return any_folder


def test_every_picture_is_read_once_in_order(folder: Folder) -> None:
    read = items(open_source(folder.url))
    assert [item.key for item in read] == IN_CLASSES
    assert [item.label for item in read] == [0, 0, 1, 1, 2]
    assert [item.data for item in read] == [picture(seed) for seed in range(5)]
    assert read[3].where == f"{folder.url}/dog/deep/er/3.PNG"


def test_a_listing_is_a_function_of_what_is_stored(folder: Folder) -> None:
    before = list(open_source(folder.url).listing())
    folder.write("dog/deep/er/3.PNG", picture(9)[:-9])
    after = list(open_source(folder.url).listing())
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, True, True, False, True]


def test_an_image_that_is_gone_is_a_bad_image(folder: Folder) -> None:
    source = open_source(folder.url)
    listed = list(source.listing())
    folder.remove("cat/1.png")
    gone, *others = source.read(listed)
    assert isinstance(gone.data, BadImage)
    assert "FileNotFoundError" in str(gone.data)
    assert all(isinstance(item.data, bytes) for item in others)


def test_labels_can_be_given(folder: Folder) -> None:
    classes = {"ox": 7, "cat": 9, "dog": 8, "yak": 1}
    source = open_source(folder.url, classes=classes)
    assert [item.label for item in items(source)] == [9, 9, 8, 8, 7]
    assert source.identity == {"kind": "image folder", "url": folder.url, "classes": {"cat": 9, "dog": 8, "ox": 7}}
    with pytest.raises(BadInput, match="no label for 'ox'"):
        open_source(folder.url, classes={"cat": 0, "dog": 1})
    with pytest.raises(BadInput, match="ox: label 2 is out of range: labels are 0 to 1"):
        open_source(folder.url, num_classes=2)


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
    found = {item.key: item.data for item in read}
    undecodable = found.pop("c/undecodable\\udcff.png")
    assert "no UTF-8" in str(undecodable)
    assert set(found) == {f"c/{name}" for name in awkward if "\udcff" not in name}
    assert set(found.values()) == {picture(0)}


def test_what_may_not_be_read_is_a_bad_image() -> None:
    """As a user without rights, who can't reach pytest's own folder either."""
    with tempfile.TemporaryDirectory() as root:
        (Path(root) / "a").mkdir()
        for name in ("1.png", "2.png"):
            (Path(root) / "a" / name).write_bytes(picture(0))
        (Path(root) / "a" / "1.png").chmod(0)
        Path(root).chmod(0o755)
        before = os.geteuid()
        os.seteuid(before or 65534)
        try:
            found = {item.key: item.data for item in items(open_source(root))}
            os.seteuid(before)
            (Path(root) / "a").chmod(0)
            os.seteuid(before or 65534)
            with pytest.raises(BadInput, match=r"a can't be listed .*: let this user do it"):
                items(open_source(root))
        finally:
            os.seteuid(before)
            (Path(root) / "a").chmod(0o755)
    assert found["a/2.png"] == picture(0)
    assert str(found["a/1.png"]) == "can't be read (PermissionError)"


def test_folders_without_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is not there"):
        ImageFolder.open(str(tmp_path / "nothing"))
    with pytest.raises(BadInput, match="holds no class folders"):
        ImageFolder.open(str(tmp_path))
    (tmp_path / "1.png").write_bytes(picture(0))
    with pytest.raises(BadInput, match=r"holds 1 images .*, but no class folders"):
        ImageFolder.open(str(tmp_path))


def test_a_file_too_large_for_an_image_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with (tmp_path / "a" / "1.png").open("wb") as file:
        file.truncate(10 << 30)  # Of holes: the disk holds none of it.
    (item,) = items(open_source(str(tmp_path)))
    assert str(item.data) == "has 10,737,418,240 bytes, more than the 268,435,456 that an image may have"


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(st.text("ab.-! ", min_size=1, max_size=3), min_size=1, max_size=3), max_size=8))
def test_a_folder_is_listed_in_order(tmp_path_factory: pytest.TempPathFactory, paths: list[list[str]]) -> None:
    root = tmp_path_factory.mktemp("images")
    (root / "z").mkdir()
    written = set()
    for path in paths:
        parts = ["c", *(f"{part}_" for part in path)]
        (root / Path(*parts)).mkdir(parents=True, exist_ok=True)
        (root / Path(*parts) / "1.png").touch()
        if not any(part.startswith(".") for part in path):
            written.add("/".join([*parts, "1.png"]))
    listed = list(ImageFolder.open(str(root)).listing())
    assert {each.key for each in listed} == written
    assert listed == sorted(listed, key=listing_order)


def test_folders_that_systems_leave_are_no_classes_and_their_files_no_images(tmp_path: Path) -> None:
    for name in [*IN_CLASSES, "__MACOSX/x.png", "@eaDir/x.png", "$RECYCLE.BIN/x.png", "cat/@eaDir/1.png"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(picture(0))
    (tmp_path / "empty").mkdir()
    source = ImageFolder.open(str(tmp_path))
    assert list(source.classes) == ["cat", "dog", "empty", "ox"]
    assert [image.key for image in source.listing()] == IN_CLASSES


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("abc", "3 classes: a → 0, b → 1, c → 2"),
        ("abcdefg", "7 classes: a → 0, b → 1, c → 2, d → 3, e → 4, …"),
        ("012", "3 classes: 0 → 0, 1 → 1, 2 → 2"),
        (["0", "1", "10", "11", "2"], "5 classes: 0 → 0, 1 → 1, 10 → 10, 11 → 11, 2 → 2"),
        (["000", "001", "010"], "3 classes: 000 → 0, 001 → 1, 010 → 10"),
        (["1", "01", "2"], "3 classes: 01 → 0, 1 → 1, 2 → 2; the names are numbers"),
        (["1", "2", "x"], "3 classes: 1 → 0, 2 → 1, x → 2"),
    ],
)
def test_classes_are_named_with_their_labels(tmp_path: Path, names: list[str], expected: str) -> None:
    for name in names:
        (tmp_path / name).mkdir()
    source = ImageFolder.open(str(tmp_path))
    assert source.summary.endswith(expected) or "numbers" in expected
    assert expected.partition(";")[0] in source.summary


def test_folders_that_are_numbers_have_the_same_labels_as_in_a_tar(tmp_path: Path) -> None:
    numbers = ["0", "1", "2", "10", "11"]
    for name in numbers:
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(picture(int(name)))
    (tmp_path / "a.tar").write_bytes(tar({f"{name}/a.png": picture(int(name)) for name in numbers}))
    folders, tars = items(open_source(str(tmp_path))), items(open_source(f"{tmp_path}/a.tar"))
    assert {item.label: item.data for item in folders} == {item.label: item.data for item in tars}
    assert sorted(item.label for item in folders) == [0, 1, 2, 10, 11]


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"0": 0, "10": 10}, {"0": 0, "2": 2, "10": 10}),  # Published by this rule.
        ({"0": 0, "10": 1}, {"0": 0, "2": 2, "10": 1}),  # Published in the order of text.
        ({}, {"0": 0, "2": 2, "10": 10}),
    ],
)
def test_numbers_that_are_published_are_kept(tmp_path: Path, known: dict[str, int], expected: dict[str, int]) -> None:
    for name in ("0", "2", "10"):
        (tmp_path / name).mkdir()
    kept = ImageFolder.open(str(tmp_path)).keeping(known)
    assert kept.classes == expected
    assert ("the names are numbers, but not the labels" in kept.summary) == (known.get("10") == 1)


def test_pictures_in_no_folder_or_one_deeper_are_met_with_a_remedy(tmp_path: Path) -> None:
    """ImageNet's validation set as it is unpacked, and ImageNet's root."""
    flat, root = tmp_path / "val", tmp_path / "imagenet"
    flat.mkdir()
    for number in range(3):
        (flat / f"ILSVRC2012_val_0000000{number}.JPEG").write_bytes(picture(number))
    with pytest.raises(BadInput, match=r"holds 3 images \(ILSVRC2012_val_00000000.JPEG, …\), .*write a list.csv"):
        open_source(str(flat))
    (flat / "list.csv").write_text("url,label\n" + "".join(f"{path.name},1\n" for path in flat.glob("*.JPEG")))
    assert [item.label for item in items(open_source(f"{flat}/list.csv"))] == [1, 1, 1]
    for name in ("train/cat/1.png", "train/dog/1.png", "val/cat/1.png"):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_bytes(picture(0))
    summary = open_source(str(root)).summary
    assert "2 classes: train → 0, val → 1; the first ones hold folders, not images" in summary
    assert "hold folders" not in open_source(f"{root}/train").summary


def test_a_class_folder_is_found_in_the_map_however_its_letters_are_stored(tmp_path: Path) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    (tmp_path / decomposed).mkdir()
    (tmp_path / decomposed / "a.png").write_bytes(picture(0))
    source = ImageFolder.open(str(tmp_path), {composed: 3})
    assert [image.label for image in source.listing()] == [3]
    with pytest.raises(BadInput, match="the class map has no label for"):
        ImageFolder.open(str(tmp_path), {"cafe": 3})


def test_all_that_is_no_image_is_left_out_with_a_word(tmp_path: Path) -> None:
    left = {
        "hidden": ["cat/.1.png", ".git/x.png"],
        "ending in .txt": ["cat/notes.txt", "cat/deep/2.TXT"],
        "without an ending": ["cat/n01440764_10026"],
        "outside of the class folders": ["README.md", "loose.png"],
        IN_JUNK: ["__MACOSX/._1.png", "cat/@eaDir/1.png"],
    }
    for name in [*IN_CLASSES, *(name for names in left.values() for name in names)]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(picture(0))
    (tmp_path / "cat" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "cat" / "linked.png").symlink_to(tmp_path / "cat" / "1.png")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "cat" / "loop").symlink_to(tmp_path / "cat")
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    left_out = LeftOut()
    keys = [image.key for image in ImageFolder.open(str(tmp_path)).listing(left_out)]
    assert keys == sorted([*IN_CLASSES, "cat/linked.png"])
    assert {reason: left_out[reason] for reason in left} == {reason: len(names) for reason, names in left.items()}
    assert left_out["dangling link"] == 2
    assert left_out["link to a folder that holds it"] == left_out["device, pipe or socket"] == 1
    assert "cat/gone.png" in str(left_out)


def test_what_an_object_store_holds_under_odd_keys_is_read_or_left_out_with_a_word(s3_folder: str) -> None:
    """Keys are used as they are written; what s3fs can't name is counted."""
    odd = ["a?b.png", "a#b.png", "a%20b.png", "%2e%2e.png", "a+b.png", "[x].png", "x{1}.png", " lead.png", "*.png"]
    odd += ["dot..png", "a&b=c.png", "a;b.png", "a\\b.png", "tail ./x.png", "e\u0301.png", "\u00e9.png"]
    client, (bucket, _, root) = boto3.client("s3"), s3_folder.removeprefix("s3://").partition("/")
    for name in [*odd, "sub//x.png", "../x.png", "a?versionId=3.png", "deep/"]:
        client.put_object(Bucket=bucket, Key=f"{root}/cat/{name}", Body=b"" if name.endswith("/") else name.encode())
    left_out = LeftOut()
    source = open_source(s3_folder)
    listed = list(source.listing(left_out))
    assert {item.key: item.data for item in source.read(listed)} == {f"cat/{name}": name.encode() for name in odd}
    assert str(left_out) == (
        "1 with ?versionId= in the key (cat/a?versionId=3.png); 1 hidden (cat/..); "
        "1 below an empty name (//) (cat/sub//)"
    )
