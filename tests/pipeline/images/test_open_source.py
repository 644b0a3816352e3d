"""Which source a URL names: data sets on the hub."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bar_model.errors import BadInput
from pipeline.images.open_source import open_source
from tests.harness.stored import IN_CLASSES, as_structs, items, parquet, picture
from tests.harness.tars import tar

pytest_plugins = ["tests.harness.fixtures_hub"]


def test_a_data_set_on_the_hub_is_a_source(hub_folder: tuple[str, Path]) -> None:
    url, folder = hub_folder
    for seed, name in enumerate(IN_CLASSES):
        path = folder / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(seed))
    read = items(open_source(f"{url}/train"))
    assert [(item.key, item.label) for item in read] == list(zip(IN_CLASSES, [0, 0, 1, 1, 2], strict=True))
    assert [item.data for item in read] == [picture(seed) for seed in range(5)]
    before = list(open_source(f"{url}/train").listing())
    (folder / "train" / IN_CLASSES[1]).write_bytes(picture(9))
    after = list(open_source(f"{url}/train").listing())
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


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("list.tsv", "is a file of a kind that is not read"),
        ("images.zip", "is a file of a kind that is not read"),
        ("train.tar.gz", "is a file of a kind that is not read"),
        ("train.arrow", "is a file of a kind that is not read"),
        ("folder.parquet", "is a folder: name the files in it by a pattern, such as .*/folder.parquet/\\*.parquet"),
        ("gone.parquet", "no file is there"),
        ("gone", "is not there"),
        ("shard-{000..002}.tar", "shard-002.tar is missing"),
    ],
)
def test_a_source_that_is_none_is_one_line_with_the_remedy(tmp_path: Path, name: str, message: str) -> None:
    for file in ("list.tsv", "images.zip", "train.tar.gz", "train.arrow", "shard-000.tar", "shard-001.tar"):
        (tmp_path / file).write_bytes(b"x")
    (tmp_path / "folder.parquet").mkdir()
    with pytest.raises(BadInput, match=message):
        open_source(f"{tmp_path}/{name}")


@pytest.mark.parametrize("name", ["train[1].parquet", "UPPER.PARQUET", "a-{0,1}.parquet"])
def test_a_file_is_read_whatever_its_name_is(tmp_path: Path, name: str) -> None:
    table = pa.table({"image": [{"bytes": picture(0), "path": "0.png"}], "label": [2]})
    pq.write_table(table, tmp_path / name)
    assert [(item.label, item.data) for item in items(open_source(f"{tmp_path}/{name}"))] == [(2, picture(0))]


@pytest.mark.parametrize("name", ["a\udcff.parquet", "a\udcff.tar", "a\udcff.csv"])
def test_a_file_whose_name_is_no_utf8_is_one_line(tmp_path: Path, name: str) -> None:
    """Keys of images begin with the file's name, and tables of keys hold UTF-8."""
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(BadInput, match=r"a\\udcff.* has a name that is no UTF-8: rename it"):
        open_source(f"{tmp_path}/*{Path(name).suffix}")


def test_a_summary_says_what_is_read_and_by_which_rules(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar({"0.png": picture(0), "0.cls": b"1"}))
    (tmp_path / "b.parquet").write_bytes(parquet({"image": as_structs(picture(0)), "label": [1]}))
    (tmp_path / "c.csv").write_text("url,label\na.png,1\n")
    assert open_source(f"{tmp_path}/*.tar").summary == f"{tmp_path}/*.tar: 1 tars, labels in .cls or names of folders"
    assert open_source(f"{tmp_path}/*.tar", image_column="png").summary.endswith("of each sample the field 'png'")
    expected = f"{tmp_path}/b.parquet: 1 Parquet files, columns of images 'image' and labels 'label'"
    assert open_source(f"{tmp_path}/b.parquet").summary == expected
    assert open_source(f"{tmp_path}/c.csv").summary.startswith(f"{tmp_path}/c.csv: ")
