"""The beginning and the end of a run, in the one process that is its driver.

A run begins with the first thing that is logged to it, or when its address is made for workers. So a job that refuses
its input before that leaves no trace. However the driver ends, the run is closed: by the driver itself, or by another
process of the machine after the driver's death (recovery.py).
"""

import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from bar_model.configuration import json_file, parameters, plain
from bar_model.errors import BadInput
from pipeline.redaction import redacted_values
from pipeline.storage import Folder
from pipeline.tracking.address import RunAddress
from pipeline.tracking.lineage import SUMMARY_FILE, RunSummary, find_summary
from pipeline.tracking.outbox import (
    flush_outbox,
    journal_header,
    put_file,
    put_record,
    sender_for_ended_run,
    take_outbox,
)
from pipeline.tracking.provenance import provenance
from pipeline.tracking.recovery import DRIVER_FILE, lock_driver_file, start_sweeping
from pipeline.tracking.spool import remove_if_empty
from pipeline.tracking.system_metrics import SystemMetricsMonitor

logger = logging.getLogger(__name__)

DRIVER_DIED = "the driver process died before it could close the run"
"""The reason that is shown of a run that another process has closed."""


@contextmanager
def driving(
    address: RunAddress, configuration: object, *, out: str | None = None, tags: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Makes this process the driver of a run for as long as the block lasts.

    The run ends as FINISHED, as FAILED after an exception, or as KILLED after SIGTERM or Ctrl-C. If it has not begun
    when the block raises BadInput, it never does. The leaves of `configuration` (a dataclass) become parameters, the
    whole becomes config.json. The output folder `out` keeps the run's key, and in the end its summary (lineage.py).
    """
    driver = RunDriver(address, configuration, out, {**(tags or {}), **provenance()})
    _drivers[address.key] = driver
    with _sigterm_raises():
        try:
            yield
        except (KeyboardInterrupt, SystemExit) as stop:
            driver.end("KILLED", stop)
            raise
        except BaseException as error:
            if driver.has_begun or not isinstance(error, BadInput):
                driver.end("FAILED", error)
            raise
        else:
            driver.end("FINISHED", None)
        finally:
            del _drivers[address.key]


class RunDriver:
    """Opens a run, holds a lock that shows that this process lives, and closes the run."""

    def __init__(self, address: RunAddress, configuration: object, out: str | None, tags: Mapping[str, str]) -> None:
        self._address = address
        self._configuration = configuration
        self._out = out
        self._tags = dict(tags)
        self._name = f"{socket.gethostname()}:{os.getpid()}:{time.time_ns()}"
        self._lock: int | None = None
        self._beginning = threading.Lock()
        self._was_tried = False
        self.has_begun = False
        self.summary = RunSummary(run=address.key)
        self._monitor = SystemMetricsMonitor(
            lambda values, step: put_record(address, "metrics", values=values, step=step)
        )

    def begin(self) -> None:
        """Opens the run, unless that has been done. Other threads wait, since the record of it must be the first."""
        if self.has_begun:
            return
        with self._beginning:
            if not self._was_tried:
                self._was_tried = True
                try:
                    self._open()
                except OSError as error:
                    address = self._address
                    logger.warning("Run %s can't be written to %s: %s", address.name, address.folder, error)
                self.has_begun = True

    def end(self, status: str, error: BaseException | None) -> None:
        """Closes the run. If its server does not answer in time, the records wait on the disk for another process."""
        self.begin()
        self._monitor.stop()
        if self._out is not None:
            self._save_summary(Folder(self._out))
        address = self._address
        put_record(address, "close", status=status, driver=self._name, reason=_one_line(error))
        outbox = take_outbox(address)
        if outbox is None:  # The disk can't be written, and the log has said so.
            return
        if self._lock is not None:  # Before records may be set aside: nobody else has to close this run.
            (address.folder / DRIVER_FILE).unlink(missing_ok=True)
        if not outbox.close() and not outbox.sender.is_refused:
            logger.warning("The end of run %s waits in %s for its server", address.name, address.folder)
        if self._lock is not None:
            os.close(self._lock)
        remove_if_empty(address.folder)

    def _save_summary(self, out: Folder) -> None:
        try:
            self.summary.save(out)
        except Exception as error:  # A file system may raise anything: the work is done, and only its summary is lost.
            logger.warning("The summary of run %s can't be written to %s: %s", self._address.name, out, error)

    def _keep_key(self, out: Folder) -> None:
        """Keeps the run's key in the output folder, also in the place of a damaged summary."""
        key = json.dumps({"run": self._address.key}).encode()
        if not out.create(SUMMARY_FILE, key) and find_summary(out.url) is None:
            out.write(SUMMARY_FILE, key)

    def _open(self) -> None:
        address = self._address
        if (parent := _drivers.get(address.parent or "")) is not None:
            parent.begin()
        if self._out is not None:
            self._keep_key(Folder(self._out))
        close = {"kind": "close", "status": "KILLED", "driver": self._name, "reason": DRIVER_DIED}
        self._lock = lock_driver_file(address.folder, journal_header(address), close)
        shown = redacted_values(plain(self._configuration))
        put_record(address, "open", driver=self._name, tags=self._tags, parameters=parameters(shown))
        config = json_file(shown, indent=2)
        put_file(address, "artifact", config, name="config.json")
        flush_outbox(address)
        start_sweeping(address.folder.parent, sender_for_ended_run)
        if address.parent is None:  # Otherwise each stage would repeat its pipeline's values.
            self._monitor.start()


_drivers: dict[str, RunDriver] = {}  # By key, of the runs that this process drives.
os.register_at_fork(after_in_child=_drivers.clear)  # A forked child drives none.


def begin_run(address: RunAddress) -> None:
    """Opens the run if this process is its driver, unless that has been done."""
    if (driver := _drivers.get(address.key)) is not None:
        driver.begin()


def log_record(address: RunAddress, kind: str, **content: Any) -> None:
    """Puts a record into the run's outbox, after the run's beginning, and into the driver's summary of the run."""
    begin_run(address)
    if (driver := _drivers.get(address.key)) is not None:
        driver.summary.record(kind, content)
    put_record(address, kind, **content)


def log_file(address: RunAddress, kind: str, data: bytes, **content: Any) -> None:
    """Puts a record with a file into the run's outbox, after the run's beginning."""
    begin_run(address)
    put_file(address, kind, data, **content)


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Within the block, SIGTERM raises SystemExit(143), so that blocks are left in order. Another handler stays."""
    is_ours = (
        threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    )
    if is_ours:
        signal.signal(signal.SIGTERM, _exit_on_signal)
    try:
        yield
    finally:
        if is_ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _exit_on_signal(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def _one_line(error: BaseException | None) -> str | None:
    if error is None:
        return None
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]
