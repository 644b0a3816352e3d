"""The beginning and the end of a run, by the process that answers for it, whatever ends it."""

import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bar_model.configuration import parameters, plain
from bar_model.errors import BadInput
from pipeline.storage import Folder
from pipeline.tracking.lineage import NOTE_FILE, Note
from pipeline.tracking.outbox import clear_desk
from pipeline.tracking.provenance import provenance
from pipeline.tracking.recovery import DRIVER_FILE, sign_of_life, sweep_from_now_on
from pipeline.tracking.spool import Courier, Record, remove_if_empty
from pipeline.tracking.system_metrics import Watch

if TYPE_CHECKING:
    from pipeline.tracking.run import Run

logger = logging.getLogger(__name__)


@contextmanager
def driving(
    run: "Run",
    configuration: object,
    *,
    out: str | None = None,
    parent: "Run | None" = None,
    tags: Mapping[str, str] | None = None,
) -> Iterator["Run"]:
    """A run for as long as the block lasts; it ends FINISHED, FAILED on an exception, KILLED on SIGTERM or Ctrl-C.

    It begins with the first thing that is logged or the first worker that gets it, so a job that refuses its input
    before that leaves no trace; `out` then keeps its key, and in the end a note of what it told (lineage.py). The
    leaves of `configuration` (a dataclass) become parameters, the whole becomes config.json.
    """
    driver = Driver(run, configuration, out, parent, {**(tags or {}), **provenance()})
    _drivers[run.key] = driver
    with _sigterm_raises():
        try:
            yield run
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
            del _drivers[run.key]


class Driver:
    """The process that answers for a run: opens it, shows by a lock that it lives, and closes it."""

    def __init__(
        self, run: "Run", configuration: object, out: str | None, parent: "Run | None", tags: Mapping[str, str]
    ) -> None:
        self._run = run
        self._configuration = configuration
        self._out = out
        self._parent = parent
        self._tags = dict(tags)
        self._name = f"{socket.gethostname()}:{os.getpid()}:{time.time_ns()}"
        self._lock: int | None = None
        self._beginning = threading.RLock()
        self._is_beginning = False
        self.has_begun = False
        self.note = Note(run=run.key)
        self._watch = Watch(lambda values, step: run.metrics(values, step=step))

    def begin(self) -> None:
        """Opens the run, unless that has been done; other threads wait, for its record must be the first."""
        if self.has_begun:
            return
        with self._beginning:
            if not self._is_beginning:
                self._is_beginning = True
                try:
                    self._open()
                except OSError as error:
                    logger.warning("Run %s can't be written to %s: %s", self._run.name, self._run.folder, error)
                self.has_begun = True

    def end(self, status: str, error: BaseException | None) -> None:
        """What the server does not get in good time waits on the disk: this process goes on trying, or the next."""
        run = self._run
        self._watch.stop()
        if self._out is not None:
            self._keep_note(Folder(self._out))
        run.append("close", status=status, driver=self._name, reason=_one_line(error))
        desk = clear_desk(run)
        if desk is None:  # Its disk would not have it, and the log has said so.
            return
        if not desk.leave():
            logger.warning("The end of run %s waits in %s for its server", run.name, run.folder)
        if self._lock is not None:
            (run.folder / DRIVER_FILE).unlink(missing_ok=True)
            os.close(self._lock)
        remove_if_empty(run.folder)

    def _keep_note(self, out: Folder) -> None:
        try:
            self.note.keep(out)
        except Exception as error:  # Of any file system: the work is done, and only its note is lost.
            logger.warning("What run %s told can't be kept in %s: %s", self._run.name, out, error)

    def _open(self) -> None:
        run = self._run
        if self._parent is not None:
            self._parent.begin()
        if self._out is not None:
            Folder(self._out).create(NOTE_FILE, json.dumps({"run": run.key}).encode())
        died = {"kind": "close", "status": "KILLED", "driver": self._name, "reason": "the driver died without a word"}
        self._lock = sign_of_life(run.folder, run.header, died)
        run.append("open", driver=self._name, tags=self._tags, parameters=parameters(self._configuration))
        run.artifact("config.json", json.dumps(plain(self._configuration), indent=2).encode())
        run.flush()
        sweep_from_now_on(run.folder.parent, partial(_courier_of_another, run))
        if self._parent is None:  # Else the same would be told of every stage.
            self._watch.start()


_drivers: dict[str, Driver] = {}  # Of the runs that this process has opened or is about to.
os.register_at_fork(after_in_child=_drivers.clear)  # A forked child answers for none.


def driver_of(run: "Run") -> Driver | None:
    """Where this process answers for the run."""
    return _drivers.get(run.key)


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """SIGTERM as SystemExit(143), so that blocks are left in order; another handler stays."""
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


def _courier_of_another(run: "Run", spool: Path, header: Record) -> Courier:
    """For what a run that has ended left on this machine."""
    other = run.another(spool, header)
    return Courier(spool, other.connect(other).deliver, other.uri, quiet=True)


def _one_line(error: BaseException | None) -> str | None:
    if error is None:
        return None
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]
