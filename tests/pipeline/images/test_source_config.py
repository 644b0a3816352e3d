"""What a job is told of its sources reaches the source that it opens."""

import json
from pathlib import Path

import pytest

from pipeline.images.codec import BadImage
from pipeline.images.source import read_all
from pipeline.images.source_config import SourceConfig
from tests.harness.stored import picture
from tests.harness.web_server import Server

pytest_plugins = ["tests.harness.fixtures_web"]


@pytest.mark.parametrize(
    ("row", "config", "is_read"),
    [
        ("{folder}/above.png", SourceConfig(), False),
        ("{folder}/above.png", SourceConfig(allow_private=True), False),
        ("{folder}/above.png", SourceConfig(allow_local=True), True),
        ("{web}/good/0.png", SourceConfig(), False),
        ("{web}/good/0.png", SourceConfig(allow_local=True), False),
        ("{web}/good/0.png", SourceConfig(allow_private=True), True),
    ],
)
def test_a_list_reaches_what_it_is_allowed(
    row: str, config: SourceConfig, is_read: bool, tmp_path: Path, web_server: Server
) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "above.png").write_bytes(picture(0))
    (tmp_path / "set" / "list.csv").write_text(f"url,label\n{row.format(folder=tmp_path, web=web_server.url)},0\n")
    source = config.open(f"{tmp_path}/set/list.csv")
    (stored,) = read_all(source, list(source.listing()))
    assert isinstance(stored.data, BadImage) != is_read


def test_labels_are_read_as_the_options_say(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture(0))
    (tmp_path / "list.csv").write_text("url,kind\na.png,cat\n")
    (tmp_path / "classes.json").write_text(json.dumps({"cat": 7}))
    config = SourceConfig(label_column="kind", classes=f"{tmp_path}/classes.json")
    assert [image.label for image in config.open(f"{tmp_path}/list.csv").listing()] == [7]
