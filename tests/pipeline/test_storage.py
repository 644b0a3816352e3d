"""Whole files or none, one winner among writers, on a disk and on a real S3 endpoint."""

import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bar_model.errors import BadInput
from pipeline.storage import Folder, local_copy, read_url, write_url

pytest_plugins = ["tests.harness.fixtures_s3"]


def test_what_is_written_is_read(any_folder: Folder) -> None:
    assert not any_folder.exists("a.bin")
    any_folder.write("a.bin", b"first")
    any_folder.write("a.bin", b"second")
    assert any_folder.read("a.bin") == b"second"
    assert any_folder.exists("a.bin")
    assert any_folder.exists()
    with any_folder.open("a.bin") as file:
        file.seek(3)
        assert file.read() == b"ond"
    any_folder.remove("a.bin")
    assert not any_folder.exists("a.bin")
    with pytest.raises(FileNotFoundError):
        any_folder.read("a.bin")


def test_a_file_is_created_once(any_folder: Folder) -> None:
    assert any_folder.create("manifest.json", b"mine")
    assert not any_folder.create("manifest.json", b"yours")
    assert any_folder.read("manifest.json") == b"mine"


def test_a_stream_becomes_a_whole_file_or_none(any_folder: Folder) -> None:
    with any_folder.writing("a.bin") as file:
        for part in range(3):
            file.write(bytes([part]) * 6_000_000)
        assert not any_folder.exists("a.bin")
    assert any_folder.read("a.bin") == b"".join(bytes([part]) * 6_000_000 for part in range(3))


def test_a_stream_that_breaks_off_leaves_nothing(any_folder: Folder) -> None:
    any_folder.write("a.bin", b"before")

    def write_half() -> None:
        with any_folder.writing("b.bin") as file:
            file.write(b"half" * 3_000_000)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert [entry.name for entry in any_folder.walk()] == ["a.bin"]


def test_of_many_writers_exactly_one_wins(any_folder: Folder) -> None:
    contents = [bytes([writer]) * 1000 for writer in range(8)]
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda data: any_folder.create("manifest.json", data), contents))
    assert sum(won) == 1
    assert any_folder.read("manifest.json") == contents[won.index(True)]


def test_lists_by_name_and_walks_in_order(any_folder: Folder) -> None:
    assert any_folder.list() == []
    for name in ["b.parquet", "a.parquet", "a.json", ".hidden", "sub/c.parquet", "sub/a b'é.parquet"]:
        any_folder.write(name, name.encode())
    assert [entry.name for entry in any_folder.list("*.parquet")] == ["a.parquet", "b.parquet"]
    assert [entry.size for entry in any_folder.list("a.*")] == [6, 9]
    assert [entry.name for entry in any_folder.walk()] == [
        "a.json",
        "a.parquet",
        "b.parquet",
        "sub/a b'é.parquet",
        "sub/c.parquet",
    ]
    assert (any_folder / "sub").read("c.parquet") == b"sub/c.parquet"
    assert (any_folder / "a.json").list("manifest-*") == []


def test_a_version_changes_with_the_content(any_folder: Folder) -> None:
    any_folder.write("a", b"one")
    first = any_folder.list()[0].version
    assert any_folder.list()[0].version == first
    any_folder.write("a", b"two")
    assert any_folder.list()[0].version != first


def test_local_copy_is_downloaded_again_when_it_changed(
    any_folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    any_folder.write("model/config.json", b"{}")
    any_folder.write("model/deep/weights", b"1")
    first = local_copy(any_folder.path("model"))
    assert (first / "deep" / "weights").read_bytes() == b"1"
    assert local_copy(any_folder.path("model")) == first
    assert local_copy(any_folder.path("model/config.json")).read_bytes() == b"{}"
    any_folder.write("model/deep/weights", b"2")
    assert (local_copy(any_folder.path("model")) / "deep" / "weights").read_bytes() == b"2"
    with pytest.raises(BadInput, match="is not there"):
        local_copy(any_folder.path("nothing"))


def test_names_can_not_climb_out(any_folder: Folder) -> None:
    for name in ["../x", "/etc/passwd", "a/../../x"]:
        with pytest.raises(BadInput, match="escapes the folder"):
            any_folder.write(name, b"")


def test_a_relative_path_holds_in_another_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Folder("here").url == str(tmp_path / "here")
    assert Folder(f"file://{tmp_path}/here") == Folder("here/")


def test_unusable_urls_are_named() -> None:
    with pytest.raises(BadInput, match="nosuch://"):
        Folder("nosuch://bucket/x").exists()
    with pytest.raises(BadInput, match="names no folder"):
        Folder("")
    with pytest.raises(BadInput, match="no conditional put"):
        Folder("memory://x").create("manifest.json", b"")


def test_a_loop_of_links_is_walked_once(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_bytes(b"")
    (tmp_path / "real" / "loop").symlink_to(tmp_path)
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    assert [entry.name for entry in Folder(str(tmp_path)).walk()] == ["linked/a", "real/a"]


WRITER = """
import sys
from pipeline.storage import Folder
folder, block = Folder(sys.argv[1]), b"0123456789abcdef" * 2**16
print("ready", flush=True)
for number in range(100_000):
    folder.write(f"{number % 7}.bin", block)
    folder.create(f"once-{number}.bin", block)
"""


@pytest.mark.system
def test_a_killed_writer_leaves_no_half_file(tmp_path: Path) -> None:
    chance = random.Random(0)
    for attempt in range(8):
        folder = Folder(str(tmp_path / str(attempt)))
        writer = subprocess.Popen([sys.executable, "-c", WRITER, folder.url], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(chance.uniform(0.01, 0.15))
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        entries = folder.list()
        assert entries
        assert {entry.size for entry in entries} == {2**20}


FILL = """
from bar_model.errors import BadInput
from pipeline.storage import Folder

folder, data, num = Folder("full"), b"x" * 30_000, 0
try:
    while num < 100:
        folder.create(str(num), data)
        num += 1
except BadInput as error:
    print(error)
assert [entry.size for entry in folder.list()] == [len(data)] * num
folder.remove("0")
assert folder.create("again", data)
assert not [name for name in __import__("os").listdir("full") if name.startswith(".")]
"""


def test_a_full_disk_is_said_and_holds_whole_files_alone(tmp_path: Path) -> None:
    """On a real one of 256 KB, that this test's own name space mounts."""
    (tmp_path / "full").mkdir()
    mount = "mount -t tmpfs -o size=256k tmpfs full"
    alone = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    if subprocess.run([*alone, mount], cwd=tmp_path, capture_output=True, check=False).returncode != 0:
        pytest.skip("no file systems may be mounted here")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [*alone, f'{mount} && exec "$@"', "sh", sys.executable, "-c", FILL]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "full/8: no space is left there: free some and run again" in done.stdout


def test_one_file_of_a_url_is_written_and_read_and_no_folder_is_overwritten(any_folder: Folder, tmp_path: Path) -> None:
    url = any_folder.path("deep/er.txt")
    write_url(url, b"x")
    assert read_url(url) == b"x"
    with pytest.raises(FileNotFoundError):
        read_url(any_folder.path("gone.txt"))
    with pytest.raises(BadInput, match="is a folder: name a file in it"):
        write_url(str(tmp_path), b"x")
