"""What the machine of a run's driver does meanwhile: curves by the names that MLflow's pages show as system metrics."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

PREFIX = "system/"
INTERVAL_S = 15.0
_MEGA = 1e6


class Watch:
    """Tells what it sees every so many seconds, from a thread of its own; the steps are seconds since 1970.

    So a run that is started again goes on with steps of its own.
    """

    def __init__(self, tell: Callable[[dict[str, float], int], None]) -> None:
        self._tell = tell
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="watch")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._is_over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        psutil.cpu_percent()  # The first one tells of no time at all.
        before = psutil.net_io_counters()
        while not self._is_over.wait(INTERVAL_S):
            memory, disk, network = (
                psutil.virtual_memory(),
                psutil.disk_usage(str(Path.cwd())),
                psutil.net_io_counters(),
            )
            values = {
                "cpu_utilization_percentage": psutil.cpu_percent(),
                "system_memory_usage_megabytes": memory.used / _MEGA,
                "system_memory_usage_percentage": memory.percent,
                "disk_usage_megabytes": disk.used / _MEGA,
                "disk_usage_percentage": disk.percent,
                "disk_available_megabytes": disk.free / _MEGA,
                "network_receive_megabytes": (network.bytes_recv - before.bytes_recv) / _MEGA,
                "network_transmit_megabytes": (network.bytes_sent - before.bytes_sent) / _MEGA,
            }
            self._tell({f"{PREFIX}{name}": value for name, value in values.items()}, int(time.time()))
