"""Two trainings into one folder: one at a time, on a disk as on S3, and a dead one is no hindrance."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bar_model.errors import BadInput, WorkFailed
from pipeline.storage import Folder
from pipeline.training import lease as lease_module
from pipeline.training.lease import check_lease, lease

pytest_plugins = ["tests.harness.fixtures_s3"]
OTHER = {"host": "elsewhere", "machine": "elsewhere 1", "pid": 7, "started": 0.0, "token": "theirs", "beat": 0}
HOLD = """
import sys, time
from pipeline.training.lease import lease
with lease(sys.argv[1]):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "BEAT_S", 0.05)
    monkeypatch.setattr(lease_module, "SILENCE_S", 0.6)
    monkeypatch.setattr(lease_module, "_POLL_S", 0.02)


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the folder `out`."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "out"), "60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def leases(folder: Folder) -> list[str]:
    return [entry.name for entry in folder.list("lease-*")]


def document(folder: Folder) -> dict[str, object]:
    return json.loads(folder.read(leases(folder)[-1]))


@pytest.mark.system
def test_the_second_is_refused_at_once_and_the_first_goes_on(
    holder: "subprocess.Popen[str]", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Folder(str(tmp_path / "out"))
    told = rf"out is where another training works \(process {holder.pid} on .*\): wait for its end, stop it, or choose"
    for _ in range(2):
        with pytest.raises(BadInput, match=told), lease(out.url):
            raise AssertionError("two trainings hold one folder")
    assert capsys.readouterr().out == ""
    assert document(out)["pid"] == holder.pid
    with lease(str(tmp_path / "elsewhere")):
        pass


@pytest.mark.system
def test_a_killed_ones_folder_is_taken_over_at_once(holder: "subprocess.Popen[str]", tmp_path: Path) -> None:
    out = Folder(str(tmp_path / "out"))
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert leases(out) == ["lease-000001.json"]
    with lease(out.url):
        assert leases(out) == ["lease-000002.json"]
        check_lease(out.url)
    assert leases(out) == []


def test_a_folder_that_only_the_lease_made_is_gone_after_it(tmp_path: Path) -> None:
    with lease(str(tmp_path / "out")), lease(str(tmp_path / "out")):
        assert leases(Folder(str(tmp_path / "out"))) == ["lease-000001.json"]
    assert not (tmp_path / "out").exists()
    with lease(str(tmp_path / "out")):
        (tmp_path / "out" / "model").mkdir()
    assert (tmp_path / "out").exists()


def test_a_silent_holder_elsewhere_is_waited_for_and_overtaken(
    impatient: None, any_folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    out = any_folder
    out.write("lease-000004.json", json.dumps(OTHER).encode())
    with lease(out.url):
        assert leases(out) == ["lease-000005.json"]
        assert document(out)["token"] != "theirs"
    assert leases(out) == []
    assert "process 7 on elsewhere trained here; looking for up to 0.6 s whether" in capsys.readouterr().out


def test_a_holder_elsewhere_that_still_writes_is_none_to_overtake(impatient: None, any_folder: Folder) -> None:
    out = any_folder
    out.write("lease-000001.json", json.dumps(OTHER).encode())
    ended = threading.Event()

    def work() -> None:
        beat = 0
        while not ended.wait(0.1):
            beat += 1
            out.write("lease-000001.json", json.dumps({**OTHER, "beat": beat}).encode())

    writer = threading.Thread(target=work)
    writer.start()
    try:
        with pytest.raises(BadInput, match="process 7 on elsewhere"), lease(out.url):
            raise AssertionError("two trainings hold one folder")
    finally:
        ended.set()
        writer.join()


@pytest.mark.parametrize("damaged", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"machine": 5}'])
def test_a_damaged_lease_is_that_of_nobody(impatient: None, tmp_path: Path, damaged: bytes) -> None:
    out = Folder(str(tmp_path / "out"))
    out.write("lease-000001.json", damaged)
    with lease(out.url):
        assert leases(out) == ["lease-000002.json"]


def test_who_was_overtaken_publishes_nothing(
    impatient: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after minutes in which this process could not write."""
    out = Folder(str(tmp_path / "out"))
    with lease(out.url):
        check_lease(out.url)
        out.write("lease-000002.json", json.dumps(OTHER).encode())
        lease_module._held[out.url].lost.wait(10)
        with pytest.raises(WorkFailed, match="was taken over by another training"):
            check_lease(out.url)
    assert leases(out) == ["lease-000002.json"]
    assert "another training has taken this folder over" in capsys.readouterr().err
