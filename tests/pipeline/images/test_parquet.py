"""Parquet files of pictures: rows as they lie, labels by number or name; on a disk and on S3."""

from pathlib import Path

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
    assert str(read[2].data) == "holds no bytes"
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
