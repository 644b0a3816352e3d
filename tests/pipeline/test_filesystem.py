"""What lies in a folder, on a disk and on S3: names in order, nothing hidden, and files described."""

from pathlib import Path

import pytest

from bar_model.errors import BadInput
from pipeline.filesystem import describe_file, list_folder, open_filesystem
from pipeline.storage import Folder

pytest_plugins = ["tests.harness.fixtures_s3"]


def test_files_and_folders_come_by_name_without_hidden_ones(any_folder: Folder) -> None:
    for name in ("b.txt", "a/1.txt", "a-b.txt", ".hidden", "é.txt"):
        any_folder.write(name, name.encode())
    found = list_folder(any_folder.url, is_local=any_folder.is_local)
    assert [(name, info["type"]) for name, info in found] == [
        ("a", "directory"),
        ("a-b.txt", "file"),
        ("b.txt", "file"),
        ("é.txt", "file"),
    ]
    entry = describe_file(*found[2])
    assert (entry.name, entry.size) == ("b.txt", 5)
    assert entry.version
    with pytest.raises(FileNotFoundError):
        list_folder(any_folder.path("nothing"), is_local=any_folder.is_local)


def test_links_to_nothing_are_neither_files_nor_folders(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    assert [(name, info["type"]) for name, info in list_folder(str(tmp_path), is_local=True)] == [
        ("link", "dangling link")
    ]


def test_unknown_protocols_are_named() -> None:
    with pytest.raises(BadInput, match="can't use nonsense://"):
        open_filesystem("nonsense://bucket/folder")
