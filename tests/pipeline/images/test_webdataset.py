"""Fields of WebDataset's samples: which member is the image, and which label it has."""

from pathlib import Path

import pytest

from bar_model.errors import BadInput
from pipeline.images.left_out import LeftOut
from pipeline.images.open_source import open_source
from tests.harness.stored import items, picture
from tests.harness.tars import tar

OTHER_FIELDS, NO_IMAGE = "in other fields", "label without an image"


def sample(name: str, *fields: str, label: bytes = b"1") -> dict[str, bytes]:
    """A sample with an image in each field, all of other content, and its label."""
    return {**{f"{name}.{field}": picture(seed) for seed, field in enumerate(fields)}, f"{name}.cls": label}


BOTH = {**sample("000", "input.jpg", "target.jpg"), **sample("001", "input.jpg", "target.jpg", label=b"2")}


@pytest.mark.parametrize(
    ("members", "field", "expected", "left_out"),
    [
        (sample("000", "jpg", "seg.png"), None, [("000.jpg", 1, 0)], {OTHER_FIELDS: 1}),
        (sample("a/000", "jpg", "seg.png"), None, [("a/000.jpg", 1, 0)], {OTHER_FIELDS: 1}),
        (sample("000", "input.jpg"), None, [("000.input.jpg", 1, 0)], {}),
        (sample("a.b", "jpg"), None, [("a.b.jpg", 1, 0)], {}),
        (sample("2020.01.02", "JPG") | sample("2020", "png"), None, [("2020.01.02.JPG", 1, 0), ("2020.png", 1, 0)], {}),
        (sample("000", "jpg") | {"001.seg.png": b"", "001.cls": b"2"}, None, [("000.jpg", 1, 0)], {OTHER_FIELDS: 1}),
        (BOTH, "input", [("000.input.jpg", 1, 0), ("001.input.jpg", 2, 0)], {OTHER_FIELDS: 2}),
        (BOTH, "target.jpg", [("000.target.jpg", 1, 1), ("001.target.jpg", 2, 1)], {OTHER_FIELDS: 2}),
        (sample("000", "jpg", "seg.png"), "seg.png", [("000.seg.png", 1, 1)], {OTHER_FIELDS: 1}),
        (sample("000", "jpg", "png"), "png", [("000.png", 1, 1)], {OTHER_FIELDS: 1}),
        ({"3/a.jpg": picture(0), "3/a.b.jpg": picture(1)}, None, [("3/a.b.jpg", 3, 1), ("3/a.jpg", 3, 0)], {}),
        (sample("000", "jpg") | {"001.cls": b"2"}, None, [("000.jpg", 1, 0)], {NO_IMAGE: 1}),
        ({"000.cls": b"4"} | {f"x{n}.json": b"{}" for n in range(30)} | {"./000.jpg": picture(0)}, None,
         [("./000.jpg", 4, 0)], {"ending in .json": 30}),
        ({"000.JPG": picture(0), "000.CLS": b"5"}, None, [("000.JPG", 5, 0)], {}),
        (sample("000", "jpg", label=b"\xef\xbb\xbf 7 \r\n"), None, [("000.jpg", 7, 0)], {}),
    ],
)  # fmt: skip
def test_the_image_of_a_sample_is_the_one_that_is_meant(
    tmp_path: Path, members: dict, field: str | None, expected: list[tuple[str, int, int]], left_out: dict[str, int]
) -> None:
    (tmp_path / "a.tar").write_bytes(tar(members))
    source = open_source(f"{tmp_path}/a.tar", image_column=field)
    assert [(item.key, item.label, item.data) for item in items(source)] == [
        (f"a.tar/{name}", label, picture(seed)) for name, label, seed in expected
    ]
    found = LeftOut()
    list(source.listing(found))
    assert {reason: found[reason] for reason in left_out} == left_out
    assert bool(found) == bool(left_out)


@pytest.mark.parametrize(
    ("tars", "field", "message"),
    [
        ([BOTH], None, "0.tar has several images a sample, input.jpg, target.jpg: choose one with --image-column"),
        ([sample("0", "jpg", "png")], None, "0.tar has several images of the sample '0', jpg, png: choose one"),
        ([BOTH], "depth", "0.tar has no field 'depth': --image-column takes one of input.jpg, target.jpg"),
        ([sample("0", "in.jpg"), sample("0", "seg.png")], None, "1.tar has images in the fields seg.png, other ones"),
        ([sample("0", "jpg"), sample("0", "seg.png")], None, "1.tar has images in the fields seg.png, other ones"),
        ([{"0.jpg": b"", "0.json": b"", "0.txt": b""}], None, "0.tar, member 0.jpg has no label: there is no 0.cls"),
        ([{"train/0.jpg": b"", "train/1.cls": b""}], None, "has no label for 'train'.*because there is no train/0.cls"),
        ([sample("0", "jpg", label=b"x" * 1000)], None, "has no label for 'a text of 1,000 bytes'"),
        ([sample("0", "jpg", label=b"")], None, "member 0.jpg: the class map has no label for ''"),
    ],
)
def test_what_can_not_be_decided_is_asked_in_one_line(
    tmp_path: Path, tars: list[dict], field: str | None, message: str
) -> None:
    for number, members in enumerate(tars):
        (tmp_path / f"{number}.tar").write_bytes(tar(members))
    with pytest.raises(BadInput, match=message):
        items(open_source(f"{tmp_path}/*.tar", image_column=field))


def test_a_field_is_no_matter_of_class_folders(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    with pytest.raises(BadInput, match="--image-column is for Parquet files and tars"):
        open_source(str(tmp_path), image_column="jpg")


def test_labels_that_differ_cost_their_sample(tmp_path: Path) -> None:
    members = [("0.cls", b"1"), ("0.jpg", picture(0)), ("0.cls", b"2"), ("1.jpg", picture(1)), ("1.cls", b"1")]
    (tmp_path / "a.tar").write_bytes(tar([*members, ("1.cls", b"1")]))
    first, second = items(open_source(f"{tmp_path}/a.tar"))
    assert str(first.data) == "has several labels"
    assert (second.label, second.data) == (1, picture(1))
