"""Which source a URL names: data sets on the hub."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bar_model.errors import BadInput
from pipeline.images.open_source import open_source
from tests.harness.stored import IN_CLASSES, items, picture

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
