"""Parquet files of pictures: rows as they lie, labels by number or name; on a disk and on S3."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bar_model.errors import BadInput
from pipeline.images.open_source import open_source
from pipeline.storage import Folder
from tests.harness.stored import as_structs, items, parquet, picture

pytest_plugins = ["tests.harness.fixtures_s3"]


def test_parquet_of_pictures(any_folder: Folder) -> None:
    """ImageNet's layout on the Hugging Face hub: other splits lie in the same folder."""
    any_folder.write("train-1.parquet", parquet({"image": as_structs(picture(5)), "label": [3]}))
    data = [picture(0), picture(1), None, picture(3), picture(4)]
    any_folder.write("train-0.parquet", parquet({"label": [7, 0, 1, 2, 9], "image": as_structs(*data)}))
    any_folder.write("test-0.parquet", parquet({"image": as_structs(picture(8)), "label": [-1]}))
    source = open_source(f"{any_folder.url}/train-*.parquet", num_classes=10)
    read = items(source, size=3)
    assert [item.key for item in read] == [
        *(f"train-0.parquet/00000000{row}" for row in range(5)),
        "train-1.parquet/000000000",
    ]
    assert [item.label for item in read] == [7, 0, 1, 2, 9, 3]
    assert str(read[2].data) == "holds no bytes, only a path to a file elsewhere: write the images into the table"
    assert [read[row].data for row in (0, 1, 3, 4, 5)] == [picture(row) for row in (0, 1, 3, 4, 5)]
    assert read[3].where == f"{any_folder.url}/train-0.parquet, row 3 (n0144_3.JPEG)"
    with pytest.raises(BadInput, match=r"train-0.parquet, row 4: label 9 is out of range: labels are 0 to 8"):
        items(open_source(f"{any_folder.url}/train-*.parquet", num_classes=9))
    with pytest.raises(BadInput, match="label -1 is out of range"):
        items(open_source(f"{any_folder.url}/test-*.parquet"))
    with pytest.raises(BadInput, match="has no column 'fine': name the column of labels with --label-column"):
        open_source(f"{any_folder.url}/*.parquet", label_column="fine")
    with pytest.raises(BadInput, match="no file is there"):
        open_source(f"{any_folder.url}/valid-*.parquet")


def test_parquet_labels_by_name_and_what_is_no_parquet(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(parquet({"pixels": as_structs(picture(0)), "label": ["ox"]}))
    source = open_source(f"{tmp_path}/a.parquet", classes={"ox": 4, "yak": 5})
    assert [item.label for item in items(source)] == [4]
    with pytest.raises(BadInput, match="row 0: the class map has no label for 'ox': add it with --classes"):
        items(open_source(f"{tmp_path}/a.parquet"))
    (tmp_path / "b.parquet").write_bytes(parquet({"picture": [1], "label": [2]}))
    with pytest.raises(BadInput, match="neither a column of images"):
        open_source(f"{tmp_path}/b.parquet")
    (tmp_path / "c.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(BadInput, match=r"c.parquet is no Parquet file, or damaged"):
        open_source(f"{tmp_path}/c.parquet")


def columns(**given: Sequence) -> dict[str, Sequence]:
    return {"image": as_structs(picture(0), picture(1)), "label": [0, 1], **given}


def plain(*seeds: int) -> pa.Array:
    return pa.array([picture(seed) for seed in seeds], pa.binary())


@pytest.mark.parametrize(
    ("tables", "options", "message"),
    [
        ([columns(), {"img": as_structs(picture(0)), "label": [0]}], {}, "1.parquet has no column 'image'"),
        ([columns(), {"image": ["a.png"], "label": [0]}], {}, "1.parquet: column 'image' is of type string"),
        ([columns(), {"image": as_structs(picture(0))}], {}, "1.parquet has no column 'label'"),
        ([columns(), columns(label=[[0], [1]])], {}, "1.parquet: column 'label' is of type list"),
        (
            [columns(mask=as_structs(picture(2), picture(3)))],
            {},
            "several columns of images, image, mask: choose",
        ),
        ([{"jpg": plain(0), "png": plain(1), "label": [0]}], {}, "several columns of images, jpg, png: choose one"),
        ([columns()], {"image_column": "mask"}, "no column 'mask': .* \\(columns of images: image\\)"),
        ([columns()], {"image_column": "label"}, "column 'label' is of type int64, which is not read"),
        ([columns(label=["\udcff".encode(errors="surrogateescape"), b"x"])], {}, "column 'label' is of type binary"),
        ([columns(label=[0, None])], {}, "0.parquet, row 1: None is no label"),
    ],
)
def test_files_that_can_not_be_used_are_named_in_one_line(
    tmp_path: Path, tables: list[dict], options: dict, message: str
) -> None:
    for number, table in enumerate(tables):
        (tmp_path / f"{number}.parquet").write_bytes(parquet(table))
    with pytest.raises(BadInput, match=message):
        items(open_source(f"{tmp_path}/*.parquet", **options))


@pytest.mark.parametrize(
    ("table", "options", "seeds"),
    [
        (columns(mask=as_structs(picture(2), picture(3))), {"image_column": "mask"}, [2, 3]),
        ({"jpg": plain(0, 1), "label": [0, 1]}, {}, [0, 1]),
        ({"Image": plain(0, 1), "embedding": plain(5, 6), "label": [0, 1]}, {}, [0, 1]),
        ({"scan": plain(0, 1), "label": [0, 1]}, {"image_column": "scan"}, [0, 1]),
        (columns(thumbnail=plain(2, 3)), {}, [0, 1]),
        (columns(thumbnail=plain(2, 3)), {"image_column": "thumbnail"}, [2, 3]),
        ({"jpg": plain(4, 5), "url": ["a", "b"], "label": [0, 1]}, {}, [4, 5]),
    ],
)
def test_the_column_of_images_is_the_one_that_is_meant(
    tmp_path: Path, table: dict, options: dict, seeds: list[int]
) -> None:
    (tmp_path / "a.parquet").write_bytes(parquet(table))
    source = open_source(f"{tmp_path}/a.parquet", **options)
    assert [item.data for item in items(source)] == [picture(seed) for seed in seeds]
    assert f"images {options.get('image_column', next(iter(table)))!r}" in source.summary


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    for name, (first, second) in {"a": ("label", "label"), "b": ("image", "image")}.items():
        arrays = [pa.array(as_structs(picture(0))), pa.array([0])]
        more = arrays[1] if first == "label" else arrays[0]
        table = pa.Table.from_arrays([*arrays, more], ["image", "label", second])
        pq.write_table(table, tmp_path / f"{name}.parquet")
        with pytest.raises(BadInput, match=f"{name}.parquet has several columns"):
            open_source(f"{tmp_path}/{name}.parquet")


def test_values_that_hold_no_image_say_what_is_missing(tmp_path: Path) -> None:
    rows = [None, {"bytes": None, "path": "x.png"}, {"bytes": None, "path": None}, {"bytes": b"", "path": ""}]
    (tmp_path / "a.parquet").write_bytes(parquet({"image": [*rows, *as_structs(picture(0))], "label": [0] * 5}))
    (tmp_path / "b.parquet").write_bytes(parquet({"jpg": pa.array([None, picture(1)]), "label": [0, 0]}))
    nothing, elsewhere, neither, empty, last = items(open_source(f"{tmp_path}/a.parquet"))
    assert (str(nothing.data), str(neither.data), empty.data, last.data) == (
        "holds no bytes",
        "holds no bytes",
        b"",
        picture(0),
    )
    assert str(elsewhere.data).startswith("holds no bytes, only a path to a file elsewhere")
    assert elsewhere.where.endswith("row 1 (x.png)")
    first, second = items(open_source(f"{tmp_path}/b.parquet"))
    assert (str(first.data), second.data) == ("holds no bytes", picture(1))


def test_a_path_that_is_no_utf8_costs_nothing(tmp_path: Path) -> None:
    path = pa.array([b"\xff.png"], pa.binary()).view(pa.string())
    image = pa.StructArray.from_arrays([pa.array([picture(0)]), path], ["bytes", "path"])
    (tmp_path / "a.parquet").write_bytes(parquet({"image": image, "label": [0]}))
    (item,) = items(open_source(f"{tmp_path}/a.parquet"))
    assert item.data == picture(0)
    assert item.where.endswith(r"(\xff.png)")
    bad = pa.array([b"\xff"], pa.binary()).view(pa.string())
    (tmp_path / "b.parquet").write_bytes(parquet({"image": as_structs(picture(0)), "label": bad}))
    with pytest.raises(BadInput, match=r"b.parquet is damaged \(.*UTF8"):
        items(open_source(f"{tmp_path}/b.parquet"))


def damaged(data: bytes, column: int, group: int) -> bytes:
    """A file in which the header of a column's first page, of one row group, is overwritten."""
    chunk = pq.ParquetFile(pa.BufferReader(data)).metadata.row_group(group).column(column)
    place = min(filter(None, (chunk.dictionary_page_offset, chunk.data_page_offset)))
    return data[:place] + b"\xff" * 12 + data[place + 12 :]


def test_damage_costs_a_row_group_of_images_or_names_the_file(any_folder: Folder) -> None:
    pictures = [picture(seed) for seed in range(6)]
    data = parquet({"image": as_structs(*pictures), "label": [0] * 6})  # Two rows a group.
    any_folder.write("images.parquet", damaged(data, 0, group=1))
    read = items(open_source(any_folder.path("images.parquet")), size=6)
    assert [item.data for item in read[:2] + read[4:]] == pictures[:2] + pictures[4:]
    assert all("its row group is damaged" in str(item.data) for item in read[2:4])
    assert all(f"{any_folder.url}/images.parquet, row" in item.where for item in read[2:4])
    any_folder.write("labels.parquet", damaged(data, 2, group=1))
    with pytest.raises(BadInput, match=r"labels.parquet is damaged \("):
        items(open_source(any_folder.path("labels.parquet")))
    for name, cut in {"footer": data[:-40] + b"\xff" * 30 + data[-10:], "cut": data[:-100], "empty": b""}.items():
        any_folder.write(f"{name}.parquet", cut)
        with pytest.raises(BadInput, match=f"{name}.parquet is no Parquet file, or damaged"):
            items(open_source(any_folder.path(f"{name}.parquet")))


def test_a_file_with_checksums_is_checked(tmp_path: Path) -> None:
    sink = pa.BufferOutputStream()
    options = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    pq.write_table(pa.table(columns()), sink, write_page_checksum=True, **options)
    data = sink.getvalue().to_pybytes()
    place = data.index(picture(0)) + 30
    (tmp_path / "a.parquet").write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    read = items(open_source(f"{tmp_path}/a.parquet"))
    assert all("its row group is damaged" in str(item.data) for item in read)
