"""How much memory a device has left, so that what can't fit is refused before it is tried."""

from pathlib import Path

import torch


def available_bytes(device: torch.device) -> int:
    """Bytes that a new tensor on this device could take."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return _of_host("MemAvailable")


def total_bytes(device: torch.device) -> int:
    """Bytes of memory that this device has."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else _of_host("MemTotal")


def readable_bytes(count: int) -> str:
    """For people: "3.1 GiB"."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if size < 1024:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} EiB"


def _of_host(name: str) -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/meminfo has no {name}: this kernel is older than Linux 3.14")
