"""The code-shard format: round trips, and what is refused."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bar_model import checkpoint, presets
from bar_model.bits import pack_bits, unpack_bits
from bar_model.errors import BadInput
from bar_model.tokenizer.tokenizer import Tokenizer
from pipeline.codes.folder import CodeTable, first_codes, read_codes, verify
from pipeline.codes.shard import CodeMetadata, Shard, decode_shard, encode_shard
from pipeline.codes.show import main
from pipeline.execution.manifest import Quarantined
from pipeline.storage import Folder
from tests.harness.code_folders import write_codes


def metadata(*, bits: int, grid: int, views: tuple[str, ...]) -> CodeMetadata:
    tokenizer = "0123456789abcdef"
    return CodeMetadata(bits=bits, grid=grid, views=views, image_size=24, crop_rule="none", tokenizer=tokenizer)


SMALL = metadata(bits=3, grid=3, views=("crop", "flip"))


def table(num: int) -> CodeTable:
    codes = np.random.default_rng(0).integers(0, 256, (num, 2, SMALL.shape.num_bytes), dtype=np.uint8)
    return CodeTable([f"{row}/{row}.png" for row in range(num)], np.arange(num, dtype=np.int32), codes, SMALL)


@st.composite
def shards(draw: st.DrawFn) -> Shard:
    views = draw(st.sampled_from([("crop",), ("crop", "flip"), ("flip",)]))
    described = metadata(bits=draw(st.integers(1, 33)), grid=draw(st.integers(1, 5)), views=views)
    text = st.text(st.characters(codec="utf-8"), max_size=12)
    keys = draw(st.lists(text, max_size=6, unique=True))
    chance = np.random.default_rng(draw(st.integers(0, 2**32)))
    labels = chance.integers(0, 2**31, len(keys)).astype(np.int32)
    codes = chance.integers(0, 256, (len(keys), described.num_bytes), dtype=np.uint8)
    quarantined = draw(st.lists(st.builds(Quarantined, text, text, text), max_size=3))
    return Shard(keys, labels, codes, described, tuple(quarantined))


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


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 3), st.integers(0, 2**32))
def test_bits_come_back_from_bytes(num_bits: int, rows: int, seed: int) -> None:
    bits = torch.from_numpy(np.random.default_rng(seed).integers(0, 2, (rows, num_bits)).astype(bool))
    packed = pack_bits(bits)
    np.testing.assert_array_equal(packed.numpy(), np.packbits(bits.numpy(), axis=-1))
    assert torch.equal(unpack_bits(packed, num_bits), bits)


def test_the_file_is_as_the_contract_says(tmp_path: Path) -> None:
    described = metadata(bits=16, grid=16, views=("crop", "flip"))
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


def test_a_folder_is_read_in_the_order_of_its_units(tmp_path: Path) -> None:
    written = table(5)
    manifest = write_codes(str(tmp_path), written, unit_size=2)
    assert [file.rows for file in manifest.files] == [2, 2, 1]
    read = read_codes(str(tmp_path), expect_tokenizer=SMALL.tokenizer)
    assert read.keys == written.keys
    assert read.labels.dtype == np.int32
    np.testing.assert_array_equal(read.labels, written.labels)
    np.testing.assert_array_equal(read.codes, written.codes)
    assert read.metadata == SMALL
    assert verify(str(tmp_path)) == []
    for num in (1, 2, 3, 9):
        assert first_codes(str(tmp_path), num).keys == written.keys[:num]


def test_codes_of_another_tokenizer_are_refused(tmp_path: Path) -> None:
    write_codes(str(tmp_path), table(2))
    with pytest.raises(BadInput, match="was made by tokenizer 0123456789abcdef, not by fedcba9876543210"):
        read_codes(str(tmp_path), expect_tokenizer="fedcba9876543210")


def test_what_is_no_code_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is not there"):
        read_codes(str(tmp_path / "nothing"))
    with pytest.raises(BadInput, match="has not finished"):
        read_codes(str(tmp_path))
    with pytest.raises(BadInput, match="is no code shard, or damaged"):
        decode_shard(b"PAR1", "here")
    newer = SMALL.to_json().replace('"format": 1', '"format": 2')
    with pytest.raises(BadInput, match="code format 2, but this version reads 1: update"):
        CodeMetadata.from_json(newer, "here")


def test_every_damage_is_named(tmp_path: Path) -> None:
    write_codes(str(tmp_path), table(6), unit_size=2)
    flipped, cut, lost = (tmp_path / entry.name for entry in Folder(str(tmp_path)).list("codes-*"))
    data = bytearray(flipped.read_bytes())
    data[len(data) // 2] ^= 1
    flipped.write_bytes(data)
    cut.write_bytes(cut.read_bytes()[:-10])
    lost.unlink()
    problems = verify(str(tmp_path))
    assert len(problems) == 3
    assert f"{flipped} is not the file that the manifest names" in problems[0]
    assert f"{cut} is not the file that the manifest names" in problems[1]
    assert f"{lost} is missing" in problems[2]
    with pytest.raises(BadInput, match=flipped.name):
        read_codes(str(tmp_path))


def test_doubled_keys_are_named(tmp_path: Path) -> None:
    twice = table(4)._replace(keys=["a", "b", "a", "b"])
    write_codes(str(tmp_path), twice, unit_size=2)
    assert verify(str(tmp_path)) == [f"{tmp_path} has several rows of key {key!r}" for key in "ab"]
    with pytest.raises(BadInput, match="several rows of key 'a'"):
        read_codes(str(tmp_path))


def test_the_command_says_what_a_folder_holds(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = str(tmp_path / "codes")
    write_codes(folder, table(5), unit_size=2)
    assert main([folder, "--verify"]) == 0
    shown = capsys.readouterr().out
    for words in ("5 in 3 shards", "3 × 3 tokens of 3 bits", "crop, flip", SMALL.tokenizer, "as the manifest says"):
        assert words in shown
    lost = tmp_path / "codes" / Folder(folder).list("codes-*")[1].name
    lost.unlink()
    assert main([folder, "--verify"]) == 1
    assert f"{lost.name} is missing" in capsys.readouterr().out.replace("\n", "")
    assert main([str(tmp_path / "nothing")]) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}/nothing is not there")
    assert main([folder, "--decode", "out.png"]) == 2
    assert "--tokenizer" in capsys.readouterr().err


def test_the_command_decodes_pictures(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    torch.manual_seed(0)
    tokenizer = Tokenizer(presets.TOKENIZERS["digits"]())
    checkpoint.save(tokenizer, tmp_path / "tokenizer")
    shape = tokenizer.config.codes
    described = CodeMetadata(
        bits=shape.bits,
        grid=shape.grid,
        views=("crop",),
        image_size=tokenizer.config.image_size,
        crop_rule="none",
        tokenizer=checkpoint.fingerprint(tokenizer),
    )
    codes = np.random.default_rng(0).integers(0, 256, (5, 1, shape.num_bytes), dtype=np.uint8)
    folder, picture = str(tmp_path / "codes"), tmp_path / "out.png"
    write_codes(folder, CodeTable(list("abcde"), np.zeros(5, np.int32), codes, described))
    assert main([folder, "--decode", str(picture), "--tokenizer", str(tmp_path / "tokenizer"), "--num", "4"]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    write_codes(str(tmp_path / "foreign"), table(2))
    arguments = [str(tmp_path / "foreign"), "--decode", str(picture), "--tokenizer", str(tmp_path / "tokenizer")]
    assert main(arguments) == 2
    assert "was made by tokenizer" in capsys.readouterr().err
