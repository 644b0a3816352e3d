"""How much memory a device has free and how much work takes, so that what can't fit is refused before it begins."""

from collections.abc import Callable
from pathlib import Path

import torch

from bar_model.torch_private import StorageWeakRef, TorchDispatchMode, storage_key, tensors_in


def available_bytes(device: torch.device) -> int:
    """Bytes that are free for new tensors on this device."""
    if device.type == "cuda":
        # What PyTorch holds in reserve is not free to the driver, but it is free to a new tensor.
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return _host_memory("MemAvailable")


def total_bytes(device: torch.device) -> int:
    """Bytes of memory that this device has."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else _host_memory("MemTotal")


def peak_bytes(work: Callable[[], object]) -> int:
    """The most bytes that the tensors made by this work take at one time.

    What an operation allocates for itself and frees again is not counted.
    """
    with _Watch() as watch:
        work()
    return watch.peak


def readable_bytes(count: int) -> str:
    """A size for people, with three digits and its unit: "3.12 GiB"."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if size < 1024:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} EiB"


class _Watch(TorchDispatchMode):
    """Follows every storage from the operation that makes it until it is freed."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = {storage_key(tensor) for tensor in tensors_in((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        self._alive = {key: value for key, value in self._alive.items() if not value[0].expired()}
        for tensor in tensors_in(result):
            if storage_key(tensor) not in given:
                storage = tensor.untyped_storage()
                self._alive[storage_key(tensor)] = StorageWeakRef(storage), storage.nbytes()
        self.peak = max(self.peak, sum(num_bytes for _, num_bytes in self._alive.values()))
        return result


def _host_memory(name: str) -> int:
    """A figure of /proc/meminfo, in bytes."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/meminfo has no {name}: this kernel is older than Linux 3.14")
