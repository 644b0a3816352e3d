"""Sample shards: what is damaged is named."""

from collections.abc import Callable

import pytest

from bar_model.errors import BadInput
from pipeline.samples.sample import SampleConfig
from pipeline.samples.shard import read_table
from tests.harness.drawn import save

pytestmark = pytest.mark.long

pytest_plugins = ["tests.harness.fixtures_sampling"]


@pytest.mark.parametrize("damage", [lambda data: data[:-20], lambda data: b"", lambda data: data[:4] + data[99:]])
def test_a_damaged_file_is_named(config: SampleConfig, damage: Callable[[bytes], bytes]) -> None:
    folder = save(config)
    data = folder.folder.read(folder.manifest.files[0].name)
    with pytest.raises(BadInput, match="there is no sample shard, or damaged"):
        read_table(damage(data), "there")
