"""What a person is shown of a folder of codes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bar_model import checkpoint, presets
from bar_model.errors import BadInput
from bar_model.tokenizer.tokenizer import Tokenizer
from pipeline.codes.folder import STAGE, CodeTable
from pipeline.codes.inspect_codes import InspectCodesConfig, inspect_codes
from pipeline.codes.shard import CodeMetadata
from pipeline.execution.manifest import Inputs, Manifest, Quarantined
from pipeline.execution.quarantine import write_quarantine
from pipeline.storage import Folder
from tests.harness.code_folders import SMALL, small_table, write_codes


def test_what_a_folder_holds_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = str(tmp_path / "codes")
    write_codes(folder, small_table(5), unit_size=2)
    assert inspect_codes(InspectCodesConfig(folder=folder, verify=True))
    shown = capsys.readouterr().out
    for fact in ("5 in 3 shards", "3 × 3 tokens of 3 bits", "crop, flip", SMALL.tokenizer, "as the manifest says"):
        assert fact in shown
    lost = tmp_path / "codes" / Folder(folder).list("codes-*")[1].name
    lost.unlink()
    assert not inspect_codes(InspectCodesConfig(folder=folder, verify=True))
    assert f"{lost.name} is missing" in capsys.readouterr().out.replace("\n", "")
    with pytest.raises(BadInput, match="nothing is not there"):
        inspect_codes(InspectCodesConfig(folder=str(tmp_path / "nothing")))
    with pytest.raises(BadInput, match="--tokenizer PATH belong together"):
        InspectCodesConfig(folder=folder, decode="out.png")


def test_quarantined_images_are_listed_with_their_reasons(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = Folder(str(tmp_path))
    bad = [Quarantined(str(number), f"there/{number}", "is empty") for number in range(12)]
    table = write_quarantine(folder, {"codes-0": bad})
    configuration = {"codes": SMALL.identity, "source": {"kind": "memory"}}
    manifest = Manifest(
        stage=STAGE, generation=1, configuration=configuration, inputs=Inputs(12, ""), files=(), quarantine=table
    )
    manifest.commit(folder)
    assert inspect_codes(InspectCodesConfig(folder=folder.url))
    shown = capsys.readouterr().out
    assert shown.count("is empty") == 10
    assert "there/0 is empty" in shown
    assert table is not None
    assert f"all of them: {folder.path(table.name)}" in shown


def test_first_images_are_decoded(tmp_path: Path) -> None:
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
    shown = InspectCodesConfig(folder=folder, decode=str(picture), tokenizer=str(tmp_path / "tokenizer"), num=4)
    assert inspect_codes(shown)
    assert picture.read_bytes().startswith(b"\x89PNG")
    write_codes(str(tmp_path / "foreign"), small_table(2))
    with pytest.raises(BadInput, match="was made by tokenizer"):
        inspect_codes(replace(shown, folder=str(tmp_path / "foreign")))
