"""The file system that Ray Train writes to."""

import pickle
from pathlib import Path

import pytest
from pyarrow.fs import copy_files

from pipeline.storage import Folder
from pipeline.training.checkpoints.filesystem import arrow_filesystem, remove_folder

pytest_plugins = ["tests.harness.fixtures_s3"]


def test_ray_train_writes_where_the_folder_is(any_folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "file").write_bytes(b"content")
    filesystem, path = arrow_filesystem(any_folder)
    filesystem.create_dir(f"{path}/there")
    copy_files(str(tmp_path / "local"), f"{path}/there", destination_filesystem=filesystem)
    assert (any_folder / "there").read("file") == b"content"
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


def test_a_folder_is_removed_with_all_that_it_holds(any_folder: Folder) -> None:
    for name in ("gone/a/file", "stays/file"):
        any_folder.write(name, b"content")
    remove_folder(any_folder / "gone")
    assert any_folder.folders() == ("stays",)
    with pytest.raises(FileNotFoundError):
        remove_folder(any_folder / "gone")
