"""The code-shard format: round trips, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bar_model.errors import BadInput
from pipeline.codes.shard import (
    CodeMetadata,
    Shard,
    check_shard,
    decode_shard,
    encode_shard,
    inspect_shard,
    pack_rows,
    read_notes,
)
from pipeline.execution.manifest import Quarantined
from pipeline.execution.records import Records
from pipeline.storage import Folder
from tests.harness.code_folders import SMALL, code_metadata
from tests.harness.damage import damaged, refusal

pytest_plugins = ["tests.harness.fixtures_s3"]


@st.composite
def shards(draw: st.DrawFn) -> Shard:
    views = draw(st.sampled_from([("crop",), ("crop", "flip"), ("flip",)]))
    described = code_metadata(bits=draw(st.integers(1, 33)), grid=draw(st.integers(1, 5)), views=views)
    text = st.text(st.characters(codec="utf-8"), max_size=12)
    keys = draw(st.lists(text, max_size=6, unique=True))
    chance = np.random.default_rng(draw(st.integers(0, 2**32)))
    labels = chance.integers(0, 2**31, len(keys)).astype(np.int32)
    codes = chance.integers(0, 256, (len(keys), described.num_bytes), dtype=np.uint8)
    quarantined = draw(st.lists(st.builds(Quarantined, text, text, text, st.booleans()), max_size=3))
    return Shard(keys, labels, codes, described, tuple(quarantined))


def small_shard() -> Shard:
    codes = np.arange(2 * SMALL.num_bytes, dtype=np.uint8).reshape(2, -1)
    labels = np.array([3, 1], np.int32)
    return Shard(["a", "b"], labels, codes, SMALL, (Quarantined("c", "there", "is empty"),), bytes(range(24)))


@settings(deadline=None)
@given(shards())
def test_a_shard_comes_back_as_it_was(shard: Shard) -> None:
    data = encode_shard(shard)
    assert data == encode_shard(shard)
    there = decode_shard(data, "here")
    assert there.keys == shard.keys
    np.testing.assert_array_equal(there.labels, shard.labels)
    np.testing.assert_array_equal(there.codes, shard.codes)
    assert there.metadata == shard.metadata
    assert there.metadata.libraries["torch"]
    assert there.quarantined == shard.quarantined


def test_the_file_is_as_the_contract_says(tmp_path: Path) -> None:
    described = code_metadata(bits=16, grid=16, views=("crop", "flip"))
    codes = np.random.default_rng(0).integers(0, 256, (512, 1024), dtype=np.uint8)
    keys = [f"n01440764/n01440764_{index}.JPEG" for index in range(10_000, 10_512)]
    data = encode_shard(Shard(keys, np.arange(512, dtype=np.int32), codes, described))
    (tmp_path / "shard").write_bytes(data)
    table = pq.read_table(tmp_path / "shard")
    assert [str(kind) for kind in table.schema.types] == ["string", "int32", "fixed_size_binary[1024]"]
    assert table.schema.names == ["key", "label", "codes"]
    assert table["codes"][3].as_py() == codes[3].tobytes()
    assert b"bar.codes" in table.schema.metadata
    assert len(data) / 512 <= 1060


def test_what_is_no_shard_is_refused() -> None:
    with pytest.raises(BadInput, match="is no code shard, or damaged"):
        decode_shard(b"PAR1", "here")
    newer = SMALL.to_json().replace('"format": 1', '"format": 2')
    with pytest.raises(BadInput, match="code format 2, but this version reads 1: update"):
        CodeMetadata.from_json(newer, "here")


def test_a_row_of_the_stage_becomes_a_shard_that_says_what_it_holds() -> None:
    bad = (Quarantined("c", "there/c", "is empty"),)
    codes = np.arange(2 * SMALL.num_bytes, dtype=np.uint8).reshape(2, -1)
    data = pack_rows(SMALL, {"codes": codes, "records": Records(["a", "b"], [3, 1], bad).to_json()})
    assert inspect_shard(data) == (2, bad)
    shard = decode_shard(data, "here")
    assert (shard.keys, shard.labels.tolist()) == (["a", "b"], [3, 1])
    np.testing.assert_array_equal(shard.codes, codes)
    assert shard.without(["a", "z"]).keys == ["b"]
    nothing = pack_rows(SMALL, {"codes": np.empty((0, 0), np.uint8), "records": Records([], [], bad).to_json()})
    assert inspect_shard(nothing) == (0, bad)


@settings(deadline=None, max_examples=300)
@given(damaged(encode_shard(small_shard())))
def test_a_damaged_shard_is_a_shard_or_named(data: bytes) -> None:
    """Codes have no checksum in a shard (the manifest has one), but nothing of it ends in a traceback."""
    refused = refusal(lambda: decode_shard(data, "here"))
    if refused is None:
        shard = decode_shard(data, "here")
        assert len(shard.keys) == len(shard.labels) == len(shard.codes)
    else:
        assert refused.startswith("here")


def test_the_footer_says_what_became_of_the_images(folder: Folder) -> None:
    shard = small_shard()
    folder.write("shard", encode_shard(shard))
    assert read_notes(folder, "shard") == (shard.quarantined, shard.contents)
    folder.write("older", encode_shard(shard._replace(contents=b"")))
    assert read_notes(folder, "older") == (shard.quarantined, b"")
    kept = decode_shard(folder.read("shard"), "here")
    assert (kept.contents, kept.keys) == (shard.contents, shard.keys)
    folder.write("damaged", encode_shard(shard._replace(contents=bytes(8))))
    with pytest.raises(BadInput, match="digests of more or fewer images"):
        decode_shard(folder.read("damaged"), "here")


def test_a_flipped_bit_of_a_shard_that_no_manifest_names_is_noticed() -> None:
    shard = small_shard()
    data = bytearray(encode_shard(shard))
    data[data.index(shard.codes.tobytes()) + 3] ^= 4
    with pytest.raises(BadInput, match="its checksum differs"):
        inspect_shard(bytes(data))


def test_a_shard_of_other_codes_is_not_taken_for_what_is_to_be_made() -> None:
    data = encode_shard(small_shard())
    check_shard(SMALL, data)
    with pytest.raises(BadInput, match="of another tokenizer"):
        check_shard(replace(SMALL, tokenizer="f" * 16), data)
