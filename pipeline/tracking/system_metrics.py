"""What the driver's machine does during a run, under the names that MLflow's pages show as system metrics."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

PREFIX = "system/"
INTERVAL_S = 15.0
_MEGA = 1e6


class SystemMetricsMonitor:
    """Measures the machine every 15 seconds in a thread of its own, and passes the values to `log(values, step)`.

    The steps are seconds since 1970, so that a run that is started again continues with new steps.
    """

    def __init__(self, log: Callable[[dict[str, float], int], None]) -> None:
        self._log = log
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="system metrics")

    def start(self) -> None:
        """Starts to measure."""
        self._thread.start()

    def stop(self) -> None:
        """Stops and waits for the thread. Does nothing if the monitor was never started."""
        self._is_over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        psutil.cpu_percent()  # The first value covers no time, so it is thrown away.
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
            self._log({f"{PREFIX}{name}": value for name, value in values.items()}, int(time.time()))
