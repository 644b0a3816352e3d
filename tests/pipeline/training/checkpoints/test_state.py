"""A training's state in a folder: what comes back, on any number of ranks, and what is refused."""

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from bar_model.errors import BadInput
from pipeline.storage import Folder
from pipeline.training.checkpoints import state
from pipeline.training.checkpoints.state import Snapshot, check_state, load_state
from pipeline.training.step.ranks import Ranks

pytest_plugins = ["tests.harness.fixtures_s3"]

VALUES = {"step": 7, "metrics": {"loss": 0.5}}


def some_tensors() -> dict[str, Tensor]:
    """Of all kinds that a training has; one lies across its memory."""
    return {
        "train/model/weight": torch.randn(5, 3).t(),
        "train/model/small": torch.randn(2),
        "train/optimizer/weight/step": torch.tensor(4.0),
        "train/model/counted": torch.tensor([3]),
        "train/average/half": torch.randn(3).bfloat16(),
    }


def write(folder: Folder, tensors: dict[str, Tensor], num_ranks: int) -> None:
    for rank in range(num_ranks):
        snapshot = Snapshot(Ranks(rank=rank, num=num_ranks))
        snapshot.take(tensors, VALUES)
        snapshot.write(folder)


@pytest.mark.parametrize("num_ranks", [1, 3])
@pytest.mark.parametrize("where", ["disk", "s3"])
def test_a_state_comes_back_as_it_was_each_tensor_kept_once(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, num_ranks: int
) -> None:
    monkeypatch.setattr(state, "FILE_BYTES", 16)
    folder = Folder(str(tmp_path / "there") if where == "disk" else request.getfixturevalue("s3_folder"))
    tensors = some_tensors()
    write(folder, tensors, num_ranks)
    assert check_state(folder, contents=True) == VALUES
    here = tmp_path / "here"
    here.mkdir()
    names: list[str] = []
    for entry in folder.list("*.safetensors"):
        (here / entry.name).write_bytes(folder.read(entry.name))
        names += safetensors.torch.load_file(here / entry.name)
    assert sorted(names) == sorted(tensors)
    back = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    load_state(here, back)
    torch.testing.assert_close(back, tensors, rtol=0, atol=0)


def test_a_snapshot_is_of_its_moment(tmp_path: Path) -> None:
    """What is trained on while it is written does not show, and the next one takes its place."""
    tensors = {"weight": torch.ones(4)}
    snapshot, back = Snapshot(Ranks()), {"weight": torch.empty(4)}
    for moment in ("first", "second"):
        snapshot.take(tensors, VALUES)
        expected = tensors["weight"].clone()
        tensors["weight"] += 1
        snapshot.write(Folder(str(tmp_path / moment)))
        load_state(tmp_path / moment, back)
        assert torch.equal(back["weight"], expected)


def refused(folder: Path, *, contents: bool = False) -> str:
    with pytest.raises(BadInput) as found:
        check_state(Folder(str(folder)), contents=contents)
    assert "\n" not in str(found.value)
    return str(found.value)


def test_what_is_not_whole_is_refused_by_name(tmp_path: Path) -> None:
    whole, folder = tmp_path / "whole", tmp_path / "folder"
    write(Folder(str(whole)), some_tensors(), 2)
    files = sorted(path.name for path in whole.iterdir())
    assert files == [f"rank-0000{r}.json" for r in (0, 1)] + [f"shard-0000{r}-00000.safetensors" for r in (0, 1)]
    assert "rank-00000.json is missing" in refused(folder)
    for name in files:
        data = (whole / name).read_bytes()
        flipped = data[:-1] + bytes([data[-1] ^ 1])
        for content in (None, data[:-5], b"", flipped if name.startswith("shard") else b"[]"):
            shutil.copytree(whole, folder, dirs_exist_ok=True)
            (folder / name).unlink() if content is None else (folder / name).write_bytes(content)
            said = refused(folder, contents=content == flipped)
            assert name in said
            assert "--resume last-whole" in said
    shutil.copytree(whole, folder, dirs_exist_ok=True)
    (folder / "foreign.safetensors").write_bytes(b"")
    assert "foreign.safetensors belongs to no rank" in refused(folder)
    (folder / "rank-00000.json").write_text(json.dumps({"format": 99}))
    assert "format 99" in refused(folder)


class Attack:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("attacked",)


def test_what_is_foreign_is_refused_and_never_carried_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tensors = some_tensors()
    write(Folder(str(tmp_path)), tensors, 1)
    (tmp_path / ".metadata").write_bytes(pickle.dumps(Attack()))  # Where DCP would look for its own.
    back = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    load_state(tmp_path, back)
    assert torch.equal(back["train/model/weight"], tensors["train/model/weight"])
    assert not (tmp_path / "attacked").exists()
    for name, tensor in (("train/model/small", torch.zeros(3)), ("train/model/other", torch.zeros(1))):
        with pytest.raises(BadInput, match=f"another training.*{name}"):
            load_state(tmp_path, {**back, name: tensor})


def test_ranks_of_different_steps_are_no_checkpoint(any_folder: Folder) -> None:
    for rank, step in ((0, 1), (1, 2)):
        snapshot = Snapshot(Ranks(rank=rank, num=2))
        snapshot.take({"weight": torch.zeros(1)}, {"step": step})
        snapshot.write(any_folder)
    with pytest.raises(BadInput, match=r"rank-00001\.json is not of the same checkpoint as the first"):
        check_state(any_folder, contents=False)
