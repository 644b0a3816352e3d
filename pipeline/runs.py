"""A run that a driver opens and closes and that any worker writes to, whether its server can be had or not.

A run is known by a key of ours, kept in the job's output folder, so the driver needs no server to begin, and the job
started again on that folder continues its run. What is logged goes to a spool on the machine's own disk (spool.py).
"""

import io
import json
import logging
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from PIL import Image

from bar_model.errors import BadInput
from pipeline.leftovers import DRIVER_FILE, sign_of_life, sweep_from_now_on
from pipeline.lineage import NOTE_FILE, Note
from pipeline.machine import Watch
from pipeline.provenance import parameters, plain, provenance
from pipeline.spool import Courier, Journal, Record, remove_if_empty
from pipeline.storage import Folder

logger = logging.getLogger(__name__)

PATIENCE_S = 60.0  # How long the beginning and the end of a run wait for a server that answers, however slowly.


class Server(Protocol):
    """Where records go; see the methods of Run for the kinds of them."""

    def deliver(self, records: list[Record]) -> None:
        """Takes records in their order, some perhaps not for the first time; raises when it can't be reached."""
        ...

    def run_id(self) -> str | None:
        """The server's own name of the run, None when it can't be asked."""
        ...


class Judged(NamedTuple):
    """What figures are of: a checkpoint that the server knows by its fingerprint; and what they were measured by."""

    model: str
    protocol: str | None = None
    digest: str | None = None
    """Of the protocol: figures compare only where it is the same."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run's name and address: travels to any worker, and logs from there without raising or waiting for the server.

    One metric of a run is written by one process at a time, once a step: a step that the server has is not sent again.
    """

    key: str
    name: str
    uri: str
    experiment: str
    spool: str
    parent: str | None
    connect: Callable[["Run"], Server] = field(repr=False)

    def metrics(self, values: Mapping[str, float], *, step: int = 0, of: Judged | None = None) -> None:
        """Points of curves at the time of this call; a name may hold `/`, which groups curves.

        `of` makes them figures of a checkpoint as well, by which it is found.
        """
        judged = {} if of is None else {"of": of}
        self._append("metrics", values={name: float(value) for name, value in values.items()}, step=step, **judged)

    def figure(self, name: str, image: np.ndarray, *, step: int = 0) -> None:
        """A picture (H, W, 3) uint8 of a step: a grid, not thousands. Costs this process the encoding."""
        encoded = io.BytesIO()
        Image.fromarray(image).save(encoded, "PNG", compress_level=1)
        self._append_file("figure", encoded.getvalue(), name=name, step=step)

    def artifact(self, name: str, data: bytes) -> None:
        """A file kept with the run, e.g. `report.html`; it takes the place of one of that name."""
        self._append_file("artifact", data, name=name)

    def tag(self, name: str, value: object) -> None:
        self._append("tags", values={name: str(value)})

    def input(self, name: str, url: str, fingerprint: str) -> None:
        """What the stage reads."""
        self._append("input", name=name, url=url, fingerprint=fingerprint)

    def output(self, name: str, url: str, fingerprint: str) -> None:
        """What the stage has made: tags `output.NAME` and `output.NAME.fingerprint`, by which runs are found."""
        self._append("tags", values={f"output.{name}": url, f"output.{name}.fingerprint": fingerprint})

    def model(self, name: str, url: str, fingerprint: str, *, sha256: str | None = None) -> None:
        """A checkpoint, made known to the server unless it is; `sha256` is that of the file of weights."""
        self._append("model", name=name, url=Folder(url).url, fingerprint=fingerprint, sha256=sha256)

    def child(self, name: str, configuration: object, *, out: str | None = None) -> AbstractContextManager["Run"]:
        """A stage of this run, as a run: see `driving`."""
        stage = replace(self, key=kept_key(out) or new_key(), name=name, parent=self.key)
        return driving(stage, configuration, out=out, parent=self)

    def flush(self, timeout_s: float = PATIENCE_S) -> bool:
        """Sends what has been logged, for a worker that is about to end; False where it has to wait on the disk."""
        try:
            return _desk(self).courier.flush(timeout_s)
        except OSError as error:
            logger.warning("Run %s can't be written to %s: %s", self.name, self.folder, error)
            return False

    @property
    def id(self) -> str | None:
        """The server's name of the run, None as long as it has not been reached."""
        self._begin()
        try:
            return _desk(self).server.run_id()
        except Exception as error:  # Of any kind, as for the courier: whoever asks goes on.
            logger.debug("Run %s has no id yet: %s", self.name, error)
            return None

    @property
    def folder(self) -> Path:
        """The run's spool on this machine."""
        return Path(self.spool).expanduser() / self.key

    def __getstate__(self) -> dict[str, Any]:
        self._begin()  # Only the driver can make the run: whoever gets the handle will find it made.
        return self.__dict__

    def _header(self) -> Record:
        """What a journal begins with: enough to make this handle again."""
        run = asdict(self)
        del run["connect"]
        return {"kind": "run", "run": run}

    def _begin(self) -> None:
        if (driver := _drivers.get(self.key)) is not None:
            driver.begin()

    def _append(self, kind: str, **content: Any) -> None:
        self._begin()
        if (driver := _drivers.get(self.key)) is not None:
            driver.note.hear(kind, content)
        try:
            _desk(self).journal.append({"kind": kind, "time": _now_ms(), **content})
        except OSError as error:
            logger.warning("Lost a record of run %s, for %s can't be written: %s", self.name, self.folder, error)

    def _append_file(self, kind: str, data: bytes, **content: Any) -> None:
        self._begin()
        file = self.folder / f"{uuid.uuid4().hex}.data"
        try:
            _desk(self)  # Makes the folder.
            file.write_bytes(data)
        except OSError as error:
            logger.warning("Lost a %s of run %s, for %s can't be written: %s", kind, self.name, self.folder, error)
        else:
            self._append(kind, file=file.name, **content)


@contextmanager
def driving(
    run: Run,
    configuration: object,
    *,
    out: str | None = None,
    parent: Run | None = None,
    tags: Mapping[str, str] | None = None,
) -> Iterator[Run]:
    """A run for as long as the block lasts; it ends FINISHED, FAILED on an exception, KILLED on SIGTERM or Ctrl-C.

    It begins with the first thing that is logged or the first worker that gets it, so a job that refuses its input
    before that leaves no trace; `out` then keeps its key, and in the end a note of what it told (lineage.py). The
    leaves of `configuration` (a dataclass) become parameters, the whole becomes config.json.
    """
    driver = _Driver(run, configuration, out, parent, {**(tags or {}), **provenance()})
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


def new_key() -> str:
    return uuid.uuid4().hex


def kept_key(out: str | None) -> str | None:
    """The key of the run that the output folder belongs to."""
    if out is None:
        return None
    try:
        return Note.read(Folder(out)).run
    except FileNotFoundError:
        return None


class _Driver:
    """The process that answers for a run: opens it, shows by a lock that it lives, and closes it."""

    def __init__(
        self, run: Run, configuration: object, out: str | None, parent: Run | None, tags: Mapping[str, str]
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
        run._append("close", status=status, driver=self._name, reason=_one_line(error))
        desk = _desks.pop(run.key, None)
        if desk is None:  # Its disk would not have it, and the log has said so.
            return
        desk.journal.close()
        if not desk.courier.flush(PATIENCE_S):
            logger.warning("The end of run %s waits in %s for its server", run.name, run.folder)
        desk.courier.stop()
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
            self._parent._begin()
        if self._out is not None:
            Folder(self._out).create(NOTE_FILE, json.dumps({"run": run.key}).encode())
        died = {"kind": "close", "status": "KILLED", "driver": self._name, "reason": "the driver died without a word"}
        self._lock = sign_of_life(run.folder, run._header(), died)
        run._append("open", driver=self._name, tags=self._tags, parameters=parameters(self._configuration))
        run.artifact("config.json", json.dumps(plain(self._configuration), indent=2).encode())
        run.flush()
        sweep_from_now_on(run.folder.parent, partial(_courier_of_another, run.connect))
        if self._parent is None:  # Else the same would be told of every stage.
            self._watch.start()


class _Desk:
    """This process's end of a run."""

    def __init__(self, run: Run) -> None:
        self.server = run.connect(run)
        self.journal = Journal(run.folder, run._header())
        self.courier = Courier(run.folder, self.server.deliver, run.uri)
        self.courier.start()


_desks: dict[str, _Desk] = {}
_desks_lock = threading.Lock()
_drivers: dict[str, _Driver] = {}  # Of the runs that this process has opened or is about to.


def _forget() -> None:
    """A forked child has these but not their threads: it opens desks of its own."""
    global _desks_lock
    _desks_lock = threading.Lock()
    _desks.clear()
    _drivers.clear()


os.register_at_fork(after_in_child=_forget)


def _desk(run: Run) -> _Desk:
    with _desks_lock:
        if run.key not in _desks:
            _desks[run.key] = _Desk(run)
        return _desks[run.key]


def _courier_of_another(connect: Callable[[Run], Server], spool: Path, header: Record) -> Courier:
    run = Run(**{**header["run"], "spool": str(spool.parent)}, connect=connect)
    return Courier(spool, connect(run).deliver, run.uri, quiet=True)


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


def _one_line(error: BaseException | None) -> str | None:
    if error is None:
        return None
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
