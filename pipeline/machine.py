"""What this machine has for a cluster of its own: CPUs, shared memory, and a folder short enough for Ray's sockets."""

import math
import os
import platform
import shutil
from pathlib import Path

import psutil

from bar_model.errors import BadInput
from bar_model.memory import readable_bytes

GB = 10**9
SOCKET_BYTES = 107
"""The longest path that a Unix socket can have on Linux."""
# Ray's longest socket below its temporary folder; the process's number may have seven digits.
_SOCKET = "ray/session_2026-01-31_23-59-59_999999_1234567/sockets/plasma_store"
_TREE = "sys/fs/cgroup"
_SHARED_MEMORY = Path("/dev/shm")


def num_cpus(root: Path = Path("/")) -> int:
    """The CPUs that this process may use: by its affinity, and by the quota of its container where there is one.

    `root` is where the files of the system lie.
    """
    quotas = [quota for quota in (*_quotas(root), len(os.sched_getaffinity(0))) if quota > 0]
    return max(1, math.floor(min(quotas)))


def check_socket_folder() -> None:
    """Checks that Ray can make its sockets in the folder that the environment names for it.

    Raises:
        BadInput: the folder is not there and can't be made, can't be written, or has too long a path.
    """
    variable = next((name for name in ("RAY_TMPDIR", "TMPDIR") if name in os.environ), None)
    folder = Path(os.environ[variable] if variable else "/tmp")
    named = f"{variable} {folder}" if variable else str(folder)
    remedy = "name a short folder of your own in RAY_TMPDIR"
    if not folder.is_absolute():
        raise BadInput(f"{named} is no absolute path: {remedy}")
    length, longest = len(os.fsencode(folder)), SOCKET_BYTES - len(_SOCKET) - 1
    if length > longest:
        raise BadInput(
            f"{named} has {length} bytes, but Ray's sockets fit only into a folder of at most {longest}: {remedy}"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{named} can't be made ({error.strerror}): {remedy}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BadInput(f"{named} can't be written: {remedy}")


def object_store_bytes(gigabytes: float | None) -> int:
    """The shared memory of Ray's object store: as given, or else a twentieth of the memory, at most 4 GB.

    Raises:
        BadInput: more is given than this machine has.
    """
    total = psutil.virtual_memory().total
    if gigabytes is not None:
        if gigabytes * GB > total:
            raise BadInput(
                f"cluster.object_store_gb {gigabytes:g}: this machine has {readable_bytes(total)} of memory altogether"
            )
        return int(gigabytes * GB)
    memory = min(total // 20, 4 * GB)
    # Often small in a container; Ray would fall back to the disk.
    free = shutil.disk_usage(_SHARED_MEMORY).free * 9 // 10 if _SHARED_MEMORY.exists() else memory
    return max(GB // 10, min(memory, free))


def check_gpus(num: int | None) -> None:
    """Checks that this machine has as many GPUs as a cluster of its own is to have.

    Raises:
        BadInput: it has fewer.
    """
    if not num:
        return
    import torch

    if num > (found := torch.cuda.device_count()):
        raise BadInput(f"cluster.num_gpus {num}: this machine has {found}")


def processor() -> str:
    """This machine's processor, as Linux calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _quotas(root: Path) -> list[float]:
    """The CPUs that each control group of this process has, the groups above it included; none where all are free."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    fields = (line.split(":", 2) for line in lines if line.count(":") > 1)
    groups = {controllers: path for _, controllers, path in fields}
    # Version 2: one tree for all. What a container sees of it begins with its own group.
    limits = [
        _text(group / "cpu.max").partition(" ")[::2] for group in _with_parents(root / _TREE, groups.get("", "/"))
    ]
    own = next((path for controllers, path in groups.items() if "cpu" in controllers.split(",")), "/")
    limits += [
        (_text(group / "cpu.cfs_quota_us"), _text(group / "cpu.cfs_period_us"))
        for tree in ("cpu", "cpu,cpuacct", "cpuacct,cpu")
        for group in _with_parents(root / _TREE / tree, own)
    ]
    return [quota for quota in (_ratio(*limit) for limit in limits) if quota > 0]


def _with_parents(tree: Path, path: str) -> list[Path]:
    group = tree / path.lstrip("/")
    return [group, *(parent for parent in group.parents if parent == tree or tree in parent.parents)]


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""


def _ratio(quota: str, period: str) -> float:
    """Microseconds of processors in so many of a clock; 0 where there is no quota (`max`, -1 or nothing)."""
    try:
        return int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return 0.0
