"""What the steps of a training take: time, the wait for data, memory, and the share of what the device could do."""

import resource
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch

Item = TypeVar("Item")


class Meter:
    """Runs from one reading to the next; what is done in `pausing` does not count."""

    def __init__(self, *, batch: int, device: torch.device, num_devices: int) -> None:
        """`batch` rows a step, over all devices."""
        self._batch = batch
        self._device = device
        peak = peak_operations(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
        self._peak = None if peak is None else peak * num_devices
        self.restart()

    def restart(self) -> None:
        self._since, self._paused_s, self._waited_s = time.perf_counter(), 0.0, 0.0

    def read(self, row_operations: Sequence[int]) -> dict[str, float]:
        """Of the steps since the last reading, given what a row of each costs; the caller has waited for the device.

        `data_share`: the part of the time in which this process made micro-batches ready.
        """
        seconds = time.perf_counter() - self._since - self._paused_s
        rows_per_s = len(row_operations) * self._batch / seconds
        values = {
            "rows_per_s": rows_per_s,
            "data_share": self._waited_s / seconds,
            "memory_gib": peak_memory(self._device) / 2**30,
        }
        if self._peak is not None:
            values["mfu"] = sum(row_operations) * self._batch / seconds / self._peak
        self.restart()
        return values

    @contextmanager
    def pausing(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self._paused_s += time.perf_counter() - began

    def waiting(self, items: Iterable[Item]) -> Iterator[Item]:
        """The same items; the time that each takes to come counts as waiting."""
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
    """Bytes that this process has had of the GPU, or of the machine's memory where there is none."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB.


# bfloat16 products with float32 sums, without sparsity, in TFLOP/s. Where a sheet gives the figure with sparsity alone,
# half of it. The first name that is part of the device's counts.
# What GPUs can do at most, by their makers' data sheets: the denominator of MFU.
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
"""Words in the names of devices that are less than what they are called after."""


def peak_operations(device_name: str) -> float | None:
    """Operations a second; None for a device that is not in the table."""
    words = device_name.replace("-", " ").split()
    if _LESS.intersection(words):
        return None
    peaks = (tflops for name, tflops in _PEAK_TFLOPS.items() if f" {name} " in f" {' '.join(words)} ")
    peak = next(peaks, None)
    return None if peak is None else peak * 1e12
