"""Sources: what is listed, in which order, and what is read; each kind on a disk and on S3."""

import io
import json
import os
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bar_model.errors import BadInput
from pipeline.image_folder import ImageFolder
from pipeline.images import BadImage
from pipeline.source import Item, Picture, Source, count_doubled, in_portions, order, read_all
from pipeline.sources import open_source, read_classes
from pipeline.storage import Folder

pytest_plugins = ["tests.fixtures_s3", "tests.fixtures_hub"]


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


NAMES = ["cat/1.png", "cat/2.JPEG", "dog/a b'é\".png", "dog/deep/er/3.PNG", "ox/4.webp"]


@pytest.fixture(params=["disk", "s3"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    return Folder(str(tmp_path / "images") if request.param == "disk" else request.getfixturevalue("s3_folder"))


@pytest.fixture
def folder(empty: Folder) -> Folder:
    for seed, name in enumerate(NAMES):
        empty.write(name, picture(seed))
    for name in ["README.md", "loose.png", "cat/.hidden.png", "cat/notes.txt"]:
        empty.write(name, b"no picture")
    return empty


def items(source: Source, size: int = 2) -> list[Item]:
    """Read as units are; a listing is in order, and the same every time."""
    listed = list(source.pictures())
    assert listed == sorted(source.pictures(), key=order)
    return [item for some in in_portions(listed, size) for item in read_all(source, some)]


def test_every_picture_is_read_once_in_order(folder: Folder) -> None:
    read = items(open_source(folder.url))
    assert [item.key for item in read] == NAMES
    assert [item.label for item in read] == [0, 0, 1, 1, 2]
    assert [item.data for item in read] == [picture(seed) for seed in range(5)]
    assert read[3].where == f"{folder.url}/dog/deep/er/3.PNG"


def test_a_data_set_on_the_hub_is_a_source(hub_folder: tuple[str, Path]) -> None:
    url, folder = hub_folder
    for seed, name in enumerate(NAMES):
        path = folder / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(seed))
    read = items(open_source(f"{url}/train"))
    assert [(item.key, item.label) for item in read] == list(zip(NAMES, [0, 0, 1, 1, 2], strict=True))
    assert [item.data for item in read] == [picture(seed) for seed in range(5)]
    before = list(open_source(f"{url}/train").pictures())
    (folder / "train" / NAMES[1]).write_bytes(picture(9))
    after = list(open_source(f"{url}/train").pictures())
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False, True, True, True]

    table = pa.table(
        {"image": [{"bytes": picture(seed), "path": f"{seed}.JPEG"} for seed in range(5)], "label": [2, 0, 1, 0, 2]}
    )
    for shard in range(2):
        pq.write_table(table.slice(3 * shard, 3), folder / f"train-{shard:05d}-of-00002.parquet")
    read = items(open_source(f"{url}/train-*.parquet", num_classes=3))
    assert [item.label for item in read] == [2, 0, 1, 0, 2]
    assert [item.data for item in read] == [picture(seed) for seed in range(5)]
    with pytest.raises(BadInput, match="is not there"):
        open_source(f"{url}/nowhere")


def test_a_listing_is_a_function_of_what_is_stored(folder: Folder) -> None:
    before = list(open_source(folder.url).pictures())
    folder.write("dog/deep/er/3.PNG", picture(9)[:-9])
    after = list(open_source(folder.url).pictures())
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, True, True, False, True]


def test_a_picture_that_is_gone_is_told_of(folder: Folder) -> None:
    source = open_source(folder.url)
    listed = list(source.pictures())
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
    told = {item.key: item.data for item in read}
    undecodable = told.pop("c/undecodable\\udcff.png")
    assert "no UTF-8" in str(undecodable)
    assert set(told) == {f"c/{name}" for name in awkward if "\udcff" not in name}
    assert set(told.values()) == {picture(0)}


def test_what_may_not_be_read_is_told_of() -> None:
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
            told = {item.key: item.data for item in items(open_source(root))}
            os.seteuid(before)
            (Path(root) / "a").chmod(0)
            os.seteuid(before or 65534)
            with pytest.raises(BadInput, match="a can't be listed: let this user read it"):
                items(open_source(root))
        finally:
            os.seteuid(before)
            (Path(root) / "a").chmod(0o755)
    assert told["a/2.png"] == picture(0)
    assert str(told["a/1.png"]) == "can't be read (PermissionError)"


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
    listed = list(ImageFolder.open(str(root)).pictures())
    assert {each.key for each in listed} == written
    assert listed == sorted(listed, key=order)


def test_doubled_keys_are_marked_wherever_they_come_from() -> None:
    keys = ["a", "b", "b", "b", "c"]
    marked = list(count_doubled(Picture(key, 0, 0, "") for key in keys))
    assert [each.name for each in marked] == ["a", "b", "b (again: 1)", "b (again: 2)", "c"]
    assert [bool(each.problem) for each in marked] == [False, False, True, True, False]


def parquet(columns: Mapping[str, Sequence], rows_a_group: int = 2) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(dict(columns)), sink, row_group_size=rows_a_group)
    return sink.getvalue().to_pybytes()


def as_structs(*pictures: bytes | None) -> list[dict]:
    return [{"bytes": data, "path": f"n0144_{row}.JPEG"} for row, data in enumerate(pictures)]


def test_parquet_of_pictures(empty: Folder) -> None:
    """ImageNet's layout on the Hugging Face hub: other splits lie in the same folder."""
    empty.write("train-1.parquet", parquet({"image": as_structs(picture(5)), "label": [3]}))
    data = [picture(0), picture(1), None, picture(3), picture(4)]
    empty.write("train-0.parquet", parquet({"label": [7, 0, 1, 2, 9], "image": as_structs(*data)}))
    empty.write("test-0.parquet", parquet({"image": as_structs(picture(8)), "label": [-1]}))
    source = open_source(f"{empty.url}/train-*.parquet", num_classes=10)
    read = items(source, size=3)
    assert [item.key for item in read] == [
        *(f"train-0.parquet/00000000{row}" for row in range(5)),
        "train-1.parquet/000000000",
    ]
    assert [item.label for item in read] == [7, 0, 1, 2, 9, 3]
    assert str(read[2].data) == "holds no bytes"
    assert [read[row].data for row in (0, 1, 3, 4, 5)] == [picture(row) for row in (0, 1, 3, 4, 5)]
    assert read[3].where == f"{empty.url}/train-0.parquet, row 3 (n0144_3.JPEG)"
    with pytest.raises(BadInput, match=r"train-0.parquet, row 4: label 9 is out of range: labels are 0 to 8"):
        items(open_source(f"{empty.url}/train-*.parquet", num_classes=9))
    with pytest.raises(BadInput, match="label -1 is out of range"):
        items(open_source(f"{empty.url}/test-*.parquet"))
    with pytest.raises(BadInput, match="has no column 'fine': name that of the labels with --label-column"):
        open_source(f"{empty.url}/*.parquet", label_column="fine")
    with pytest.raises(BadInput, match="no file is there"):
        open_source(f"{empty.url}/valid-*.parquet")


def test_parquet_labels_by_name_and_what_is_no_parquet(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(parquet({"pixels": as_structs(picture(0)), "label": ["ox"]}))
    source = open_source(f"{tmp_path}/a.parquet", classes={"ox": 4, "yak": 5})
    assert [item.label for item in items(source)] == [4]
    with pytest.raises(BadInput, match="row 0: the class map has no label for 'ox': add it with --classes"):
        items(open_source(f"{tmp_path}/a.parquet"))
    (tmp_path / "b.parquet").write_bytes(parquet({"picture": [1], "label": [2]}))
    with pytest.raises(BadInput, match="neither a column of pictures"):
        open_source(f"{tmp_path}/b.parquet")
    (tmp_path / "c.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(BadInput, match=r"c.parquet is no Parquet file, or damaged"):
        open_source(f"{tmp_path}/c.parquet")


def tar(members: dict[str, bytes] | list[tuple[str, bytes]], links: dict[str, str] | None = None) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name, data in members.items() if isinstance(members, dict) else members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return sink.getvalue()


def test_tars_of_pictures(empty: Folder) -> None:
    long = "long" * 40 + ".png"
    first = {"01.cls": b"3\n", "01.jpg": picture(0), "00.png": picture(1), "00.cls": b"ox", "00.json": b"{}"}
    empty.write("b.tar", tar({f"yak/{long}": picture(2), "dir é/ox/'\n.png": picture(3)}))
    empty.write("a.tar", tar(first, links={"link.png": "/etc/hostname"}))
    source = open_source(f"{empty.url}/*.tar", classes={"ox": 4, "yak": 5})
    read = items(source)
    assert [item.key for item in read] == [
        "a.tar/00.png",
        "a.tar/01.jpg",
        "b.tar/dir é/ox/'\n.png",
        f"b.tar/yak/{long}",
    ]
    assert [item.label for item in read] == [4, 3, 4, 5]
    assert [item.data for item in read] == [picture(seed) for seed in (1, 0, 3, 2)]
    assert read[1].where == f"{empty.url}/a.tar, member 01.jpg"


def test_a_tar_costs_no_more_than_what_is_wrong_in_it(tmp_path: Path) -> None:
    climbing = [
        ("../3/up.png", picture(0)),
        ("/3/root.png", picture(1)),
        ("3/a.png", picture(2)),
        ("3/a.png", picture(3)),
    ]
    (tmp_path / "a.tar").write_bytes(tar(climbing))
    told = {item.key: item.data for item in items(open_source(f"{tmp_path}/a.tar"))}
    assert told.pop("a.tar/3/a.png") == picture(2)
    assert {key: str(why) for key, why in told.items()} == {
        "a.tar/../3/up.png": "its name climbs out of the file",
        "a.tar//3/root.png": "its name climbs out of the file",
        "a.tar/3/a.png (again: 1)": "has the key of another picture",
    }
    (tmp_path / "b.tar").write_bytes(tar({"1.png": picture(0)}))
    with pytest.raises(BadInput, match=r"b.tar, member 1.png: None is no label"):
        items(open_source(f"{tmp_path}/b.tar"))
    (tmp_path / "c.tar").write_bytes(b"no tar" * 300)
    with pytest.raises(BadInput, match=r"c.tar is no tar file, or damaged"):
        items(open_source(f"{tmp_path}/c.tar"))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_lists_of_urls(kind: str, empty: Folder, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "a b.png"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(picture(0))
    empty.write("pictures/1,5.png", picture(1))
    rows = [
        ("pictures/1,5.png", 1),
        (f"file://{elsewhere}", 0),
        ("pictures/no.png", 2),
        ("pictures/1,5.png", 1),
        ("../up.png", 2),
    ]
    urls, labels = zip(*rows, strict=True)
    text = "label,url\n" + "".join(f'{label},"{url}"\n' for url, label in rows)
    empty.write(f"list.{kind}", text.encode() if kind == "csv" else parquet({"label": labels, "url": urls}))
    read = items(open_source(f"{empty.url}/list.{kind}", num_classes=3))
    told = {item.key: item.data for item in read}
    assert told.pop("pictures/1,5.png") == picture(1)
    assert told.pop(f"file://{elsewhere}") == picture(0)
    assert {key: str(why) for key, why in told.items()} == {
        "../up.png": "its path climbs out of the folder",
        "pictures/no.png": "can't be read (FileNotFoundError)",
        "pictures/1,5.png (again: 1)": "has the key of another picture",
    }
    with pytest.raises(BadInput, match=f"list.{kind}, row 2: label 2 is out of range: labels are 0 to 1"):
        items(open_source(f"{empty.url}/list.{kind}", num_classes=2))


def test_lists_that_are_none(tmp_path: Path) -> None:
    for text, message in [
        ("address,label\na,1\n", "is no CSV file with columns url, label"),
        ("url,label\na,1,2\n", "is no CSV file with columns url, label"),
        ("url,label\n,1\n", "row 0 has no URL"),
        ("url,label\na,\n", "row 0: .* no label"),
    ]:
        (tmp_path / "a.csv").write_text(text)
        with pytest.raises(BadInput, match=message):
            items(open_source(f"{tmp_path}/a.csv"))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.text("ab/.!-é", min_size=1, max_size=6), max_size=9))
def test_a_list_is_in_order_however_it_lies(tmp_path_factory: pytest.TempPathFactory, urls: list[str]) -> None:
    root = tmp_path_factory.mktemp("list")
    (root / "a.parquet").write_bytes(parquet({"url": pa.array(urls, pa.string()), "label": [0] * len(urls)}))
    listed = list(open_source(f"{root}/a.parquet").pictures())
    assert sorted(each.key for each in listed) == sorted(urls)
    assert listed == sorted(listed, key=order)
    assert len({each.name for each in listed}) == len(urls)
