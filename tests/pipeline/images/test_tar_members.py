"""Members of tars: links, odd kinds, odd names, other files under a tar's name, damage; nothing is lost in silence."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import pytest

from bar_model.errors import BadInput
from pipeline.images.left_out import LeftOut
from pipeline.images.open_source import open_source
from pipeline.images.tar_members import read_members
from pipeline.storage import Folder
from tests.harness.stored import items, parquet, picture
from tests.harness.tars import tar

TWO = {f"{number}/a.png": picture(number) for number in range(2)}
WHOLE = tar(TWO)


def zipped(name: str) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr(name, picture(0))
    return sink.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (WHOLE + WHOLE, "holds more after byte .*several tars"),
        (WHOLE[: WHOLE.rindex(b"1/a.png") + 200], "holds more after byte .*cut off"),
        (WHOLE[: WHOLE.rindex(b"1/a.png")], "has no end mark: it was cut off"),
        (WHOLE.replace(b"1/a.png", b"2/a.png"), "holds more after byte .*damaged"),
        (WHOLE[: WHOLE.rindex(b"1/a.png") + 600], "is no tar file, or damaged"),
        (gzip.compress(WHOLE), "is a gzip file, which is not read as a tar: unpack it"),
        (bz2.compress(WHOLE), "is a bzip2 file"),
        (lzma.compress(WHOLE), "is a xz file"),
        (zipped("1/a.png"), "is a zip file"),
        (parquet({"label": [1]}), "is a Parquet file"),
        (b"", "is no tar file, or damaged .*empty"),
        (b"<html>no tar</html>" * 99, "is no tar file, or damaged"),
        (tar({"n01440764.tar": WHOLE, "n01443537.tar": WHOLE}), "holds tars, not images: .*unpack each of them"),
    ],
    ids=[
        "two joined", "cut in a header", "cut between members", "damaged header", "cut in a member", "gzip", "bzip2",
        "xz", "zip", "parquet", "empty", "a page", "tar of tars",
    ],
)  # fmt: skip
def test_a_tar_is_read_to_its_end_or_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(BadInput, match=f"a.tar {message}"):
        items(open_source(f"{tmp_path}/*.tar"))


def test_what_is_padded_with_zeros_is_whole_and_an_empty_tar_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(WHOLE + bytes(100_000))
    (tmp_path / "b.tar").write_bytes(tar({}))
    (tmp_path / "c.tar").mkdir()
    (tmp_path / "d.tar").symlink_to(tmp_path / "gone.tar")
    left_out = LeftOut()
    assert len(list(open_source(f"{tmp_path}/*.tar").listing(left_out))) == 2
    assert str(left_out) == "1 directory (c.tar); 1 dangling link (d.tar); 1 file without images (b.tar)"


@pytest.mark.parametrize(
    ("kind", "links", "expected"),
    [
        ("hard", {"1/link.png": "0/a.png"}, picture(0)),
        ("hard", {"1/link.png": "./0//a.png"}, picture(0)),
        ("hard", {"1/b": "0/a.png", "1/link.png": "1/b"}, picture(0)),
        ("hard", {"1/link.png": "0/gone.png"}, "is a link to what is not in the file"),
        ("hard", {"1/link.png": "1/link.png"}, "is a link to what is not in the file"),
        ("hard", {"1/link.png": "/etc/hostname"}, "is a link to what is not in the file"),
        ("symbolic", {"1/link.png": "../0/a.png"}, "is a symbolic link"),
        ("symbolic", {"link.png": "/etc/hostname"}, "is a symbolic link"),  # It needs no label.
        ("pipe", {"1/link.png": ""}, "is no regular file"),
        ("device", {"1/link.png": ""}, "is no regular file"),
    ],
)
def test_links_are_read_or_quarantined(tmp_path: Path, kind: str, links: dict, expected: bytes | str) -> None:
    (tmp_path / "a.tar").write_bytes(tar(TWO, links, kind=kind))
    found = {item.key.rpartition("/")[2]: item.data for item in items(open_source(f"{tmp_path}/a.tar"))}
    link = found["link.png"]
    assert (link if isinstance(expected, bytes) else str(link)) == expected


def test_a_label_may_be_a_hard_link(tmp_path: Path) -> None:
    members = {"0.cls": b"3", "0.png": picture(0), "1.png": picture(1)}
    (tmp_path / "a.tar").write_bytes(tar(members, {"1.cls": "0.cls"}, kind="hard"))
    assert [item.label for item in items(open_source(f"{tmp_path}/a.tar"))] == [3, 3]


def test_a_member_with_holes_is_quarantined(tmp_path: Path) -> None:
    info = tarfile.TarInfo("2/hole.png")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 0
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        archive.addfile(info)
    (tmp_path / "a.tar").write_bytes(sink.getvalue())
    assert [str(item.data) for item in items(open_source(f"{tmp_path}/a.tar"))] == ["is stored with holes"]


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_names_of_any_length_and_kind_are_read(tmp_path: Path, form: int) -> None:
    names = ["1/" + "long" * 90 + ".png", "1/é'\n.png", "1/ b .png", "1/\udcff.png", "1/#?%41*[x].png", "1/e\u0301.png"]
    (tmp_path / "a.tar").write_bytes(tar({name: name.encode(errors="surrogateescape") for name in names}, form=form))
    found = {item.key: item.data for item in items(open_source(f"{tmp_path}/a.tar"))}
    assert len(found) == len(names)
    assert all(found[f"a.tar/{name}"] == name.encode() for name in names if "\udcff" not in name)
    assert found[r"a.tar/1/\xff.png"] == b"1/\xff.png"


def test_a_header_may_claim_no_more_than_it_has(tmp_path: Path) -> None:
    """Python 3.11.7 walks in circles over a negative size, and takes memory for a long one."""
    second = WHOLE.index(b"1/a.png")
    for claimed in (-1024, -512, 1 << 40):
        for kind in (tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
            info = tarfile.TarInfo("1/a.png")
            info.type, info.size = kind, claimed
            header = info.tobuf(tarfile.GNU_FORMAT)
            (tmp_path / "a.tar").write_bytes(WHOLE[:second] + header + WHOLE)
            with pytest.raises(BadInput, match=r"a.tar (is no tar file, or damaged|holds more)"):
                read_members(Folder(str(tmp_path)), "a.tar")
