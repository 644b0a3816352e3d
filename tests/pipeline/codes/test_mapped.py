"""Codes mapped from a file are those that are read into memory, and nothing but whole files is mapped."""

import dataclasses
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from bar_model.errors import BadInput
from pipeline.codes import mapped as mapped_codes
from pipeline.codes.folder import open_codes, read_codes
from pipeline.codes.mapped import MappedCodes
from pipeline.training.learners.generator import GeneratorLearner, TrainConfig
from pipeline.training.train_generator import prepare
from tests.harness.generator_training import ALONE, NUM_CLASSES, losses, tiny_bar, tiny_codes, tiny_training


@pytest.fixture
def mapped(tmp_path: Path) -> MappedCodes:
    return MappedCodes.of(tiny_codes(tmp_path / "codes"), str(tmp_path / "cache"))


def test_rows_are_those_of_memory(mapped: MappedCodes) -> None:
    codes, table = mapped.opened(), read_codes(mapped.url)
    np.testing.assert_array_equal(codes.labels, table.labels)
    np.testing.assert_array_equal(codes.packed, table.codes)
    assert codes.packed.base is not None  # A view of the file.
    assert mapped.file.stat().st_size == mapped.num_bytes == table.labels.nbytes + table.codes.nbytes


def test_a_training_learns_the_same_from_the_file(tmp_path: Path) -> None:
    in_memory = tiny_training(
        tmp_path, codes=tiny_codes(tmp_path / "codes"), held_out=tiny_codes(tmp_path / "held_out", seed=1, num=11)
    )
    from_file = dataclasses.replace(in_memory, codes_cache=str(tmp_path / "cache"))
    assert prepare(in_memory).recipe == prepare(from_file).recipe

    def learned(config: TrainConfig) -> tuple[list[float], dict[str, float]]:
        torch.manual_seed(0)
        learner = GeneratorLearner(config, prepare(config).data, ALONE, torch.device("cpu"))
        return losses(learner, config, range(8)), learner.validate()

    assert learned(from_file) == learned(in_memory)
    assert len(list((tmp_path / "cache").glob("*.codes"))) == 2


def test_one_of_a_machines_workers_copies(mapped: MappedCodes, monkeypatch: pytest.MonkeyPatch) -> None:
    copies = []
    plainly = MappedCodes._copy
    monkeypatch.setattr(MappedCodes, "_copy", lambda self: (copies.append(1), plainly(self))[1])
    with ThreadPoolExecutor(4) as pool:
        assert {len(codes.labels) for codes in pool.map(lambda _: mapped.opened(), range(4))} == {30}
    assert len(copies) == 1
    # The copy is enough: the folder may be gone, as it may be out of reach.
    shutil.rmtree(mapped.url)
    mapped.opened()
    assert len(copies) == 1


def test_half_a_copy_is_made_anew(mapped: MappedCodes) -> None:
    mapped.opened()
    whole = mapped.file.read_bytes()
    mapped.file.write_bytes(whole[:-1])
    mapped.opened()
    assert mapped.file.read_bytes() == whole


def test_what_a_killed_copy_has_left_is_removed(mapped: MappedCodes) -> None:
    mapped.file.parent.mkdir()
    left, anothers = mapped.file.with_suffix(".0.part"), mapped.file.parent / "another.0.part"
    for file in (left, anothers):
        file.write_bytes(b"half a copy")
    mapped.opened()
    assert not left.exists()
    assert anothers.exists()


def test_what_can_not_be_copied_is_refused_and_leaves_nothing(
    tmp_path: Path, mapped: MappedCodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadInput, match=r"was made by tokenizer 0000000000000000, not by f"):
        MappedCodes.of(mapped.url, mapped.cache, expect_tokenizer="f")
    with monkeypatch.context() as patch:
        patch.setattr(mapped_codes.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))  # pyright: ignore[reportAttributeAccessIssue]
        with pytest.raises(BadInput, match=r"cache has 1 B left, but the codes of .* are \S+ B: make room"):
            mapped.opened()
    with pytest.raises(BadInput, match=r"has changed since the run began, or differs between machines: run again"):
        dataclasses.replace(mapped, fingerprint="0" * 16).opened()
    folder, manifest, _ = open_codes(mapped.url)
    shard = Path(folder.path(manifest.files[-1].name))
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    with pytest.raises(BadInput, match="its checksum differs"):
        mapped.opened()
    assert [path.suffix for path in Path(mapped.cache).iterdir() if path.stat().st_size] == []


def test_labels_beyond_the_classes_are_refused_from_the_file_too(tmp_path: Path) -> None:
    few = dataclasses.replace(tiny_bar(), num_classes=NUM_CLASSES - 1)
    config = tiny_training(
        tmp_path, codes=tiny_codes(tmp_path / "codes"), model=few, codes_cache=str(tmp_path / "cache")
    )
    with pytest.raises(BadInput, match=r"label 2 .*but the model has 2 classes"):
        prepare(config)
