"""WebDataset tars: members with their labels, and what is wrong with some; on a disk and on S3."""

from pathlib import Path

import pytest

from bar_model.errors import BadInput
from pipeline.images.open_source import open_source
from pipeline.storage import Folder
from tests.harness.stored import items, picture
from tests.harness.tars import tar

pytest_plugins = ["tests.harness.fixtures_s3"]


def test_tars_of_pictures(any_folder: Folder) -> None:
    long = "long" * 40 + ".png"
    first = {"01.cls": b"3\n", "01.jpg": picture(0), "00.png": picture(1), "00.cls": b"ox", "00.json": b"{}"}
    any_folder.write("b.tar", tar({f"yak/{long}": picture(2), "dir é/ox/'\n.png": picture(3)}))
    any_folder.write("a.tar", tar(first, links={"link.png": "/etc/hostname"}))
    source = open_source(f"{any_folder.url}/*.tar", classes={"ox": 4, "yak": 5})
    read = items(source)
    assert [item.key for item in read] == [
        "a.tar/00.png",
        "a.tar/01.jpg",
        "a.tar/link.png",
        "b.tar/dir é/ox/'\n.png",
        f"b.tar/yak/{long}",
    ]
    assert str(read.pop(2).data) == "is a symbolic link"
    assert [item.label for item in read] == [4, 3, 4, 5]
    assert [item.data for item in read] == [picture(seed) for seed in (1, 0, 3, 2)]
    assert read[1].where == f"{any_folder.url}/a.tar, member 01.jpg"


def test_a_tar_costs_no_more_than_what_is_wrong_in_it(tmp_path: Path) -> None:
    climbing = [
        ("../3/up.png", picture(0)),
        ("/3/root.png", picture(1)),
        ("3/a.png", picture(2)),
        ("3/a.png", picture(3)),
    ]
    (tmp_path / "a.tar").write_bytes(tar(climbing))
    found = {item.key: item.data for item in items(open_source(f"{tmp_path}/a.tar"))}
    assert found.pop("a.tar/3/a.png") == picture(2)
    assert {key: str(why) for key, why in found.items()} == {
        "a.tar/../3/up.png": "its name climbs out of the file",
        "a.tar//3/root.png": "its name climbs out of the file",
        "a.tar/3/a.png (again: 1)": "has the key of another picture",
    }
    (tmp_path / "b.tar").write_bytes(tar({"1.png": picture(0)}))
    with pytest.raises(BadInput, match=r"b.tar, member 1.png has no label: there is no 1.cls"):
        items(open_source(f"{tmp_path}/b.tar"))
    (tmp_path / "c.tar").write_bytes(b"no tar" * 300)
    with pytest.raises(BadInput, match=r"c.tar is no tar file, or damaged"):
        items(open_source(f"{tmp_path}/c.tar"))


def test_what_systems_leave_in_a_tar_is_no_image_and_no_label(tmp_path: Path) -> None:
    members = {
        "./000.jpg": picture(0),
        "./000.cls": b"\xef\xbb\xbf2",
        "./._000.jpg": b"Mac OS X",
        "./._000.cls": b"\x05",
    }
    members |= {"__MACOSX/000.jpg": b"junk", "cat/@eaDir/1.jpg": b"thumbnail", "001.JFIF": picture(1), "001.cls": b"0"}
    (tmp_path / "a.tar").write_bytes(tar(members))
    read = items(open_source(f"{tmp_path}/a.tar"))
    assert [(item.key, item.label, item.data) for item in read] == [
        ("a.tar/./000.jpg", 2, picture(0)),
        ("a.tar/001.JFIF", 0, picture(1)),
    ]
