"""Which checkpoints are kept, and what is left when one was cut short."""

import pytest

from bar_model.errors import BadInput
from pipeline.storage import Folder
from pipeline.training.checkpoints.filesystem import remove_folder
from pipeline.training.checkpoints.listing import (
    FOLDER,
    CheckpointEntry,
    checkpoint_name,
    drop_damaged,
    tidy,
    worth_keeping,
)
from pipeline.training.ray_train_internals import LIST_FILE
from tests.harness.checkpoint_folders import listing_of, write_checkpoints

pytest_plugins = ["tests.harness.fixtures_s3"]


@pytest.fixture
def out(any_folder: Folder) -> Folder:
    return any_folder


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
