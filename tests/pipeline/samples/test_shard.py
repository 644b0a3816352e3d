"""Sample shards: what is damaged is named."""

from collections.abc import Callable
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bar_model.errors import BadInput
from pipeline.samples.encoding import Encoding
from pipeline.samples.folder import SampleFolder
from pipeline.samples.sample import SampleConfig
from pipeline.samples.shard import check_samples, inspect_samples, read_table
from tests.harness.damage import SHAPES, damaged, refusal
from tests.harness.drawn import save

pytestmark = pytest.mark.long

pytest_plugins = ["tests.harness.fixtures_sampling"]


@pytest.mark.parametrize("damage", [lambda data: data[:-20], lambda data: b"", lambda data: data[:4] + data[99:]])
def test_a_damaged_file_is_named(config: SampleConfig, damage: Callable[[bytes], bytes]) -> None:
    folder = save(config)
    data = folder.folder.read(folder.manifest.files[0].name)
    with pytest.raises(BadInput, match="there is no sample shard, or damaged"):
        read_table(damage(data), "there")


@pytest.mark.parametrize("images", ["png", "webp"])
def test_a_picture_that_can_not_be_decoded_is_noticed_in_a_shard_that_was_found(
    config: SampleConfig, images: Encoding
) -> None:
    """Its columns are whole, and no manifest has a checksum of it: so the pictures are looked at."""
    folder = save(replace(config, images=images))
    data = bytearray(folder.folder.read(folder.manifest.files[0].name))
    check_samples(bytes(data), folder.drawing)
    mark = {"png": b"IDAT", "webp": b"VP8L"}[images]
    for at in range(data.index(mark) + 8, data.index(mark) + 24):
        data[at] ^= 0xFF
    assert inspect_samples(bytes(data)).rows
    with pytest.raises(BadInput, match=r"image 0 can't be decoded|image 0 is of shape"):
        check_samples(bytes(data), folder.drawing)


def test_a_shard_that_was_drawn_otherwise_is_not_taken(config: SampleConfig) -> None:
    folder = save(config)
    data = folder.folder.read(folder.manifest.files[0].name)
    with pytest.raises(BadInput, match="was drawn by other models or settings"):
        check_samples(data, replace(folder.drawing, seed=1))


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_shard_is_read_or_named(config: SampleConfig, shard: bytes, data: st.DataObject) -> None:
    content = data.draw(damaged(shard))
    refused = refusal(lambda: read_table(content, "there"))
    assert refused is None or refused.startswith("there")
    refusal(lambda: check_samples(content, SampleFolder.open(config.out).drawing))


@pytest.fixture
def shard(config: SampleConfig) -> bytes:
    folder = save(config)
    return folder.folder.read(folder.manifest.files[0].name)


@pytest.mark.parametrize("notes", [*SHAPES, b'{"format": 2}', b'{"format": 2, "keeping": {"encoding": 3}}'])
def test_notes_that_are_none_are_named(notes: bytes) -> None:
    columns = {"index": pa.array([0]), "label": pa.array([1], pa.int32()), "codes": pa.array([b"x"], pa.binary(1))}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns).replace_schema_metadata({"bar.samples": notes}), sink)
    assert str(refusal(lambda: read_table(sink.getvalue().to_pybytes(), "there"))).startswith("there")
