"""What the steps of a training take: time, the wait for data, memory, and the share of the device's peak (MFU)."""

import resource
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch

Item = TypeVar("Item")


class Meter:
    """A clock that runs from one reading to the next; what is done in `pausing` does not count."""

    def __init__(self, *, batch: int, device: torch.device, num_devices: int) -> None:
        """A meter of steps of `batch` rows each, over all devices."""
        self._batch = batch
        self._device = device
        peak = peak_operations(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
        self._peak = None if peak is None else peak * num_devices
        self.restart()

    def restart(self) -> None:
        """Begins a new reading now."""
        self._since, self._paused_s, self._waited_s = time.perf_counter(), 0.0, 0.0

    def read(self, row_operations: Sequence[int | None]) -> dict[str, float]:
        """The figures of the steps since the last reading; the caller has waited for the device.

        `row_operations` holds the operations for a row of each step, None where that is not known. The figures are
        `rows_per_s`, `data_share` (the part of the time in which this process prepared micro-batches), `memory_gib`,
        and `mfu` where the operations and the device's peak are known.
        """
        seconds = time.perf_counter() - self._since - self._paused_s
        rows_per_s = len(row_operations) * self._batch / seconds
        values = {
            "rows_per_s": rows_per_s,
            "data_share": self._waited_s / seconds,
            "memory_gib": peak_memory(self._device) / 2**30,
        }
        known = [each for each in row_operations if each is not None]
        if self._peak is not None and len(known) == len(row_operations):
            values["mfu"] = sum(known) * self._batch / seconds / self._peak
        self.restart()
        return values

    @contextmanager
    def pausing(self) -> Iterator[None]:
        """Leaves the time of a block out of the reading."""
        began = time.perf_counter()
        yield
        self._paused_s += time.perf_counter() - began

    def waiting(self, items: Iterable[Item]) -> Iterator[Item]:
        """The same items; the time until each is there counts as a wait for data."""
        source = iter(items)
        while True:
            began = time.perf_counter()
            try:
                item = next(source)
            except StopIteration:
                return
            finally:
                self._waited_s += time.perf_counter() - began
            yield item


def peak_memory(device: torch.device) -> int:
    """The most bytes that this process has held of the GPU, or of the machine's memory where there is no GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB.


# What GPUs can do at most, by their makers' data sheets: the denominator of MFU. bfloat16 products with float32 sums,
# without sparsity, in TFLOP/s; half the figure where a sheet gives it with sparsity alone. The first name that is part
# of the device's counts.
_PEAK_TFLOPS = {
    "B200": 2250,  # NVIDIA DGX B200 data sheet: 36 PFLOP/s with sparsity for eight
    "H200 NVL": 835,  # NVIDIA H200 data sheet: 1,671 with sparsity
    "H200": 989,  # the same: 1,979 with sparsity
    "H100 NVL": 835,  # NVIDIA H100 data sheet: 1,671 with sparsity
    "H100 PCIe": 756,  # NVIDIA H100 data sheet of 2022: 1,513 with sparsity
    "H100": 989,  # NVIDIA H100 data sheet: 1,979 with sparsity
    "A100": 312,  # NVIDIA A100 data sheet
    "L40S": 362,  # NVIDIA L40S data sheet
    "L4": 121,  # NVIDIA L4 data sheet: 242 with sparsity
    "RTX 4090": 165,  # NVIDIA Ada architecture whitepaper, appendix A
}


_LESS = {"Laptop", "MIG", "D"}
"""Words in the names of devices that reach less than the device of the same name without them."""


def peak_operations(device_name: str) -> float | None:
    """The operations a second that a device reaches at most; None where the table does not hold the device."""
    words = device_name.replace("-", " ").split()
    if _LESS.intersection(words):
        return None
    peaks = (tflops for name, tflops in _PEAK_TFLOPS.items() if f" {name} " in f" {' '.join(words)} ")
    peak = next(peaks, None)
    return None if peak is None else peak * 1e12
