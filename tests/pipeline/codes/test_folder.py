"""Folders of codes: read in the order of their units, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from bar_model.errors import BadInput
from pipeline.codes.folder import first_codes, open_codes, read_codes, verify
from pipeline.execution.manifest import Inputs, Manifest
from pipeline.storage import Folder
from tests.harness.code_folders import SMALL, small_table, write_codes


def test_a_folder_is_read_in_the_order_of_its_units(tmp_path: Path) -> None:
    written = small_table(5)
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
    write_codes(str(tmp_path), small_table(2))
    with pytest.raises(BadInput, match="was made by tokenizer 0123456789abcdef, not by fedcba9876543210"):
        read_codes(str(tmp_path), expect_tokenizer="fedcba9876543210")


def test_what_is_no_code_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is not there"):
        read_codes(str(tmp_path / "nothing"))
    with pytest.raises(BadInput, match="has not finished"):
        read_codes(str(tmp_path))
    Folder(str(tmp_path)).write("stage.json", b"{}")
    manifest = Manifest(stage="sample", generation=1, configuration={}, inputs=Inputs(0, ""), files=())
    manifest.commit(Folder(str(tmp_path)))
    with pytest.raises(BadInput, match="was made by the stage 'sample': give a folder of codes"):
        open_codes(str(tmp_path))


def test_every_damage_is_named(tmp_path: Path) -> None:
    write_codes(str(tmp_path), small_table(6), unit_size=2)
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
    twice = small_table(4)._replace(keys=["a", "b", "a", "b"])
    write_codes(str(tmp_path), twice, unit_size=2)
    assert verify(str(tmp_path)) == [f"{tmp_path} has several rows of key {key!r}" for key in "ab"]
    with pytest.raises(BadInput, match="several rows of key 'a'"):
        read_codes(str(tmp_path))
