"""Which checkpoints are kept, and what is left when one was cut short."""

import json
import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pyarrow.fs import copy_files

from bar_model.errors import BadInput
from pipeline.storage import Folder
from pipeline.training import ray_train
from pipeline.training.checkpoints.filesystem import arrow_filesystem, remove_folder
from pipeline.training.checkpoints.listing import (
    FOLDER,
    CheckpointEntry,
    checkpoint_name,
    drop_damaged,
    tidy,
    worth_keeping,
)
from pipeline.training.checkpoints.state import Snapshot, check_state
from pipeline.training.config import Cadence
from pipeline.training.ray_train_internals import LIST_FILE
from pipeline.training.step.ranks import Ranks

pytest_plugins = ["tests.harness.fixtures_s3"]


@pytest.fixture
def out(any_folder: Folder) -> Folder:
    return any_folder


def write_checkpoints(out: Folder, *steps: int) -> list[str]:
    """As Ray Train lists them."""
    names = [checkpoint_name(step, "aaaa") for step in steps]
    results = [{"version": 0, "checkpoint_dir_name": name, "metrics": {"step": 1}} for name in names]
    snapshot = Snapshot(Ranks())
    for name in names:
        snapshot.take({"weight": torch.zeros(1)}, {"step": 1})
        snapshot.write(out / FOLDER / name)
    listing = {
        "ray_version": "of today",
        "checkpoint_results": results,
        "checkpoint_report_indices": list(range(len(names))),
        "latest_checkpoint_result": results[-1],
    }
    (out / FOLDER).write(LIST_FILE, json.dumps(listing).encode())
    return names


def listing_of(out: Folder) -> dict:
    return json.loads((out / FOLDER).read(LIST_FILE))


def test_the_newest_and_the_best_are_kept() -> None:
    def kept(*scores: float | None, newest: int, best: int) -> list[int]:
        listed = [CheckpointEntry(f"step-{index}", score) for index, score in enumerate(scores)]
        return [listed.index(each) for each in worth_keeping(listed, newest=newest, best=best)]

    assert kept(0.5, 0.3, 0.4, 0.9, newest=1, best=1) == [1, 3]
    assert kept(0.5, 0.3, 0.4, 0.2, newest=2, best=1) == [2, 3]
    assert kept(0.1, 0.3, None, None, newest=2, best=2) == [0, 1, 2, 3]
    assert kept(None, None, None, newest=1, best=3) == [2]
    assert kept(0.1, 0.2, newest=1, best=0) == [1]


def test_what_the_list_does_not_name_is_removed_and_what_is_gone_is_no_longer_listed(out: Folder) -> None:
    assert tidy(out) == []
    names = write_checkpoints(out, 10, 20, 30)
    orphan = checkpoint_name(40, "bbbb")
    (out / FOLDER).write(f"{orphan}/shard-00000-00000.safetensors", b"")
    (out / FOLDER).write(".validate_storage_marker", b"")
    assert [each.name for each in tidy(out)] == names
    assert not (out / FOLDER).exists(orphan)
    remove_folder(out / FOLDER / names[1])
    assert [each.name for each in tidy(out)] == [names[0], names[2]]
    listing = listing_of(out)
    assert listing["checkpoint_report_indices"] == [0, 2]
    assert listing["latest_checkpoint_result"]["checkpoint_dir_name"] == names[2]
    remove_folder(out / FOLDER / names[2])
    with pytest.raises(BadInput, match=f"{names[2]}, the newest checkpoint, is missing"):
        tidy(out)
    (out / FOLDER).write(LIST_FILE, b"{")
    with pytest.raises(BadInput, match="damaged"):
        tidy(out)


def test_damaged_ones_are_passed_over_down_to_the_last_whole_one(
    out: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, third, fourth = write_checkpoints(out, 10, 20, 30, 40)
    drop_damaged(out)
    assert [each.name for each in tidy(out)] == [first, second, third, fourth]
    for name in (first, third):
        file = f"{name}/shard-00000-00000.safetensors"
        data = (out / FOLDER).read(file)
        (out / FOLDER).write(file, data[:-1] + b"\1")
    remove_folder(out / FOLDER / fourth)
    drop_damaged(out)
    said = capsys.readouterr().out
    assert said.count("a damaged checkpoint is skipped and removed") == 2
    assert f"{third}/shard-00000-00000.safetensors is damaged" in said
    assert [each.name for each in tidy(out)] == [first, second]
    assert not (out / FOLDER).exists(third)
    assert listing_of(out)["latest_checkpoint_result"]["checkpoint_dir_name"] == second
    (out / FOLDER).remove(f"{second}/rank-00000.json")
    with pytest.raises(BadInput, match="has no whole checkpoint"):
        drop_damaged(out)
    assert (out / FOLDER).exists(f"{first}/rank-00000.json")


def test_checkpoints_whose_list_is_gone_are_not_taken_for_remains(out: Folder) -> None:
    first, second = write_checkpoints(out, 10, 20)
    (out / FOLDER).remove(LIST_FILE)
    with pytest.raises(
        BadInput, match=f"{LIST_FILE} is missing, the list of 2 checkpoints .{first}, {second}.: restore it"
    ):
        tidy(out)
    assert (out / FOLDER).exists(first)
    # One alone is what a kill before the first list leaves, beside another that was being written.
    (out / FOLDER).remove(f"{second}/rank-00000.json")
    assert tidy(out) == []
    assert not (out / FOLDER).exists(first)


def test_what_can_not_be_removed_does_not_end_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Folder(str(tmp_path))
    names = write_checkpoints(out, 10, 20, 30, 40)
    keeping = ray_train._retention(out, [], Cadence(keep_checkpoints=1, keep_best=0))

    def report(name: str) -> None:
        keeping.after_report(None, [{}], SimpleNamespace(path=f"anywhere/{name}"))

    def refuse(out: Folder, name: str) -> None:
        raise PermissionError("DeleteObject")

    with monkeypatch.context() as patched:
        patched.setattr(ray_train, "remove", refuse)
        for name in names[:3]:
            report(name)
    assert f"{names[0]} is no longer needed, but can't be removed (DeleteObject)" in capsys.readouterr().out
    assert len((out / FOLDER).folders()) == 4
    remove_folder(out / FOLDER / names[1])
    report(names[3])
    assert (out / FOLDER).folders() == (names[3],)


def test_ranks_of_different_steps_are_no_checkpoint(out: Folder) -> None:
    for rank, step in ((0, 1), (1, 2)):
        snapshot = Snapshot(Ranks(rank=rank, num=2))
        snapshot.take({"weight": torch.zeros(1)}, {"step": step})
        snapshot.write(out)
    with pytest.raises(BadInput, match=r"rank-00001\.json is not of the same checkpoint as the first"):
        check_state(out, contents=False)


def test_ray_train_writes_where_the_folder_is(out: Folder, tmp_path: Path) -> None:
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "file").write_bytes(b"content")
    filesystem, path = arrow_filesystem(out)
    filesystem.create_dir(f"{path}/there")
    copy_files(str(tmp_path / "local"), f"{path}/there", destination_filesystem=filesystem)
    assert (out / "there").read("file") == b"content"
    # Such a file system travels to the workers.
    assert pickle.loads(pickle.dumps(filesystem)).get_file_info(f"{path}/there/file").size > 0  # noqa: S301  (bytes of its own)


def test_an_overwritten_file_is_the_old_one_until_it_is_the_new_one(tmp_path: Path) -> None:
    filesystem, path = arrow_filesystem(Folder(str(tmp_path)))
    (tmp_path / "list.json").write_bytes(b"old")
    with filesystem.open_output_stream(f"{path}/list.json") as stream:
        stream.write(b"new")
        assert (tmp_path / "list.json").read_bytes() == b"old"
    assert (tmp_path / "list.json").read_bytes() == b"new"
    assert [each.name for each in tmp_path.iterdir()] == ["list.json"]
