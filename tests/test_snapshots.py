"""What a checkpoint may hold, and what is left when one was cut short."""

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from pyarrow.fs import copy_files

from bar_model.errors import BadInput
from pipeline.snapshots import FOLDER, checkpoint_name, ray_storage, read_state, remove_orphans, write_state
from pipeline.storage import Folder

pytest_plugins = ["tests.fixtures_s3"]

CPU = torch.device("cpu")


@pytest.fixture(params=["disk", "s3"])
def out(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    return Folder(str(tmp_path / "out") if request.param == "disk" else request.getfixturevalue("s3_folder"))


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    state = {"step": 7, "metrics": {"loss": 0.5}, "weights": torch.rand(3)}
    write_state(state, tmp_path)
    back = read_state(tmp_path, CPU)
    assert (back["step"], back["metrics"]) == (7, {"loss": 0.5})
    assert torch.equal(back["weights"], state["weights"])


class Attack:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("attacked",)


def test_what_is_no_checkpoint_is_refused_and_never_carried_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "state.pt"
    with pytest.raises(BadInput, match="no checkpoint"):
        read_state(tmp_path, CPU)
    write_state({"step": 1}, tmp_path)
    whole = file.read_bytes()
    torch.save({"format": 1, "step": Attack()}, file)
    foreign = file.read_bytes()
    for content in (whole[:-40], foreign, pickle.dumps(Attack()), b"", b"junk"):
        file.write_bytes(content)
        with pytest.raises(BadInput, match="no checkpoint"):
            read_state(tmp_path, CPU)
    assert not (tmp_path / "attacked").exists()
    torch.save({"format": 99}, file)
    with pytest.raises(BadInput, match="format 99"):
        read_state(tmp_path, CPU)


def test_what_ray_train_does_not_list_is_removed(out: Folder) -> None:
    listed, orphan = checkpoint_name(10, "aaaa"), checkpoint_name(20, "bbbb")
    remove_orphans(out)
    for name in (f"{listed}/state.pt", f"{orphan}/state.pt", ".validate_storage_marker"):
        (out / FOLDER).write(name, b"")
    (out / FOLDER).write(
        "checkpoint_manager_snapshot.json",
        json.dumps({"checkpoint_results": [{"checkpoint_dir_name": listed}]}).encode(),
    )
    remove_orphans(out)
    assert (out / FOLDER).exists(f"{listed}/state.pt")
    assert not (out / FOLDER).exists(f"{orphan}/state.pt")
    (out / FOLDER).write("checkpoint_manager_snapshot.json", b"{")
    with pytest.raises(BadInput, match="damaged"):
        remove_orphans(out)


def test_ray_train_writes_where_the_folder_is(out: Folder, tmp_path: Path) -> None:
    (tmp_path / "local").mkdir()
    write_state({"step": 3}, tmp_path / "local")
    filesystem, path = ray_storage(out)
    filesystem.create_dir(f"{path}/there")
    copy_files(str(tmp_path / "local"), f"{path}/there", destination_filesystem=filesystem)
    assert (out / "there").read("state.pt") == (tmp_path / "local" / "state.pt").read_bytes()
    # Such a file system travels to the workers.
    assert pickle.loads(pickle.dumps(filesystem)).get_file_info(f"{path}/there/state.pt").size > 0  # noqa: S301


def test_an_overwritten_file_is_the_old_one_until_it_is_the_new_one(tmp_path: Path) -> None:
    filesystem, path = ray_storage(Folder(str(tmp_path)))
    (tmp_path / "list.json").write_bytes(b"old")
    with filesystem.open_output_stream(f"{path}/list.json") as stream:
        stream.write(b"new")
        assert (tmp_path / "list.json").read_bytes() == b"old"
    assert (tmp_path / "list.json").read_bytes() == b"new"
    assert [each.name for each in tmp_path.iterdir()] == ["list.json"]
