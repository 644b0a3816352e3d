"""Lists of URLs, as CSV and as Parquet; on a disk and on S3."""

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bar_model.errors import BadInput
from pipeline.images.open_source import open_source
from pipeline.images.source import listing_order
from pipeline.storage import Folder
from tests.harness.stored import items, parquet, picture

pytest_plugins = ["tests.harness.fixtures_s3"]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_lists_of_urls(kind: str, any_folder: Folder, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "a b.png"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(picture(0))
    any_folder.write("pictures/1,5.png", picture(1))
    rows = [
        ("pictures/1,5.png", 1),
        (f"file://{elsewhere}", 0),
        ("pictures/no.png", 2),
        ("pictures/1,5.png", 1),
        ("../up.png", 2),
    ]
    urls, labels = zip(*rows, strict=True)
    text = "label,url\n" + "".join(f'{label},"{url}"\n' for url, label in rows)
    any_folder.write(f"list.{kind}", text.encode() if kind == "csv" else parquet({"label": labels, "url": urls}))
    read = items(open_source(f"{any_folder.url}/list.{kind}", num_classes=3))
    found = {item.key: item.data for item in read}
    assert found.pop("pictures/1,5.png") == picture(1)
    assert found.pop(f"file://{elsewhere}") == picture(0)
    assert {key: str(why) for key, why in found.items()} == {
        "../up.png": "its path climbs out of the folder",
        "pictures/no.png": "can't be read (FileNotFoundError)",
        "pictures/1,5.png (again: 1)": "has the key of another picture",
    }
    with pytest.raises(BadInput, match=f"list.{kind}, row 2: label 2 is out of range: labels are 0 to 1"):
        items(open_source(f"{any_folder.url}/list.{kind}", num_classes=2))


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
    listed = list(open_source(f"{root}/a.parquet").listing())
    assert sorted(each.key for each in listed) == sorted(urls)
    assert listed == sorted(listed, key=listing_order)
    assert len({each.name for each in listed}) == len(urls)


def test_a_list_is_read_whatever_the_case_of_its_ending(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture(0))
    (tmp_path / "LIST.CSV").write_text("url,label\na.png,1\n")
    (tmp_path / "LIST.PARQUET").write_bytes(parquet({"url": ["a.png"], "label": [1]}))
    for name in ("LIST.CSV", "LIST.PARQUET"):
        assert [(item.label, item.data) for item in items(open_source(f"{tmp_path}/{name}"))] == [(1, picture(0))]
