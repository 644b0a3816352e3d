"""What a machine has for a cluster: the CPUs of its container, room for Ray's sockets and its object store."""

import os
from pathlib import Path

import psutil
import pytest

from bar_model.errors import BadInput
from pipeline import machine
from pipeline.machine import GB, check_gpus, check_socket_folder, num_cpus, object_store_bytes, processor

FREE = len(os.sched_getaffinity(0))
ONE = "100000 100000"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, FREE),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, FREE),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": f"{ONE}\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "190000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "90000000 100000\n"}, FREE),
        ({"sys/fs/cgroup/cpu.max": ONE}, 1),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": ONE, "sys/fs/cgroup/a/b/cpu.max": "max 1"}, 1),
        ({"proc/self/cgroup": "0::/../host\n", "sys/fs/cgroup/cpu.max": ONE}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "a lot\n"}, FREE),
        ({"proc/self/cgroup": "nonsense\n"}, FREE),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/docker/x\n1:name=systemd:/\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "100000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            1,
        ),
        (
            {
                "proc/self/cgroup": "3:cpuacct,cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            FREE,
        ),
    ],
)
def test_a_container_has_the_cpus_of_its_quota(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert num_cpus(tmp_path) == expected


def test_this_machine_has_cpus_of_some_kind() -> None:
    assert 1 <= num_cpus() <= FREE
    assert processor()


@pytest.mark.parametrize("variable", ["RAY_TMPDIR", "TMPDIR"])
@pytest.mark.parametrize(
    ("folder", "told"),
    [
        ("/" + "a" * 77, "has 78 bytes, but Ray's sockets fit only into a folder of at most 39"),
        ("/" + "ü" * 20, "has 41 bytes"),
        ("here", "is no absolute path"),
        ("/proc/nowhere", r"can't be made \("),
        ("/proc", "can't be written"),
    ],
)
def test_a_folder_without_room_for_sockets_is_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, folder: str, told: str
) -> None:
    for name in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    check_socket_folder()
    monkeypatch.setenv(variable, folder)
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != "/proc")  # Root may write everywhere.
    with pytest.raises(
        BadInput, match=rf"^{variable} {folder} {told}.*: name a short folder of your own in RAY_TMPDIR"
    ):
        check_socket_folder()


def test_a_folder_that_is_short_enough_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "SOCKET_BYTES", len(str(tmp_path / "new")) + 1 + len(machine._SOCKET))
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "new"))
    check_socket_folder()
    assert (tmp_path / "new").is_dir()
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "newer"))
    with pytest.raises(BadInput, match="Ray's sockets fit only"):
        check_socket_folder()


def test_the_object_store_is_bounded_by_the_memory() -> None:
    assert object_store_bytes(0.5) == GB // 2
    assert GB // 10 <= object_store_bytes(None) <= 4 * GB
    assert object_store_bytes(None) < psutil.virtual_memory().total
    with pytest.raises(BadInput, match=r"cluster\.object_store_gb 100000: this machine has .* of memory altogether"):
        object_store_bytes(100_000)


def test_gpus_that_are_not_there_are_no_part_of_a_cluster() -> None:
    check_gpus(None)
    check_gpus(0)
    with pytest.raises(BadInput, match=r"cluster\.num_gpus 9999: this machine has \d+"):
        check_gpus(9999)
