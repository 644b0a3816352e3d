"""A spool: records that wait on a disk until the tracking server has them.

A spool is a folder on one machine for one run. Each process that logs appends to a journal of its own in it, which
takes microseconds, needs no server and outlives the process. The process that holds the folder's lock sends the
records of all journals, in order. When that process dies, another one takes over: the locks are the kernel's
(`flock`), which frees them at a process's death.
"""

import fcntl
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bar_model.errors import one_line
from pipeline.redaction import redact_text

logger = logging.getLogger(__name__)

Record = dict[str, Any]

SEND_INTERVAL_S = 1.0  # A record waits up to this long, so that several are sent together.
MAX_RETRY_INTERVAL_S = 30.0  # Between two attempts while the server is unreachable.
SEGMENT_BYTES = 8 << 20  # A journal goes on in a new file after this many bytes, so that the sent one can be removed.
LOCK_FILE = "lock"  # In a spool; held by the process that sends.
WAITING_FILES = "files.later"  # In a spool; a header, and records of files whose store can't be reached.


class Undeliverable(Exception):
    """The server refuses all records of a run for good; the message says why, and how that is mended."""


class Journal:
    """The records of one process, as JSON lines in a file that stays locked as long as more may follow.

    `header` is the first record of every file, so that each file can be understood alone. Journals are thread-safe.
    """

    def __init__(self, spool: Path, header: Record) -> None:
        self._spool = spool
        self._header = header
        self._lock = threading.Lock()
        self._open_segment()

    def append(self, record: Record) -> None:
        """Appends one line to the file.

        Raises:
            OSError: The disk is full or the file can't be written.
        """
        line = json.dumps(record).encode() + b"\n"
        with self._lock:
            if self._size + len(line) > SEGMENT_BYTES:
                os.close(self._descriptor)
                self._open_segment()
            self._size += os.write(self._descriptor, line)

    def close(self) -> None:
        """Closes and unlocks the file: the sender removes it once its records have arrived."""
        with self._lock:
            os.close(self._descriptor)

    def _open_segment(self) -> None:
        """A new file, locked before it gets the name that a sender looks for; names sort by age."""
        name = f"{time.time_ns():020d}-{os.getpid()}"
        self._descriptor = _create_in(self._spool, f"{name}.new")
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        self._size = os.write(self._descriptor, json.dumps(self._header).encode() + b"\n")
        (self._spool / f"{name}.new").rename(self._spool / f"{name}.jsonl")


class Sender:
    """Passes the spool's records to `deliver`, oldest journal first, while it holds the spool's lock.

    `deliver(records)` raises if the server can't be reached. The records then stay on the disk and come again, so
    `deliver` has to skip what the server has already. It gives those that have to wait while others need not, and gets
    them again before the next. One log line reports that the server is unreachable, one that it is back; a `quiet`
    sender, for a run that ended long ago, reports both at debug level only.

    If `deliver` raises Undeliverable, `refuse(reason)` is called, and `set_aside` once no process writes any more.
    """

    def __init__(
        self,
        spool: Path,
        deliver: Callable[[list[Record]], Sequence[Record]],
        server: str,
        *,
        quiet: bool = False,
        refuse: Callable[[str], None] = lambda reason: None,
        set_aside: Callable[[], None] = lambda: None,
    ) -> None:
        self._level = logging.DEBUG if quiet else logging.WARNING
        self._spool = spool
        self._deliver = deliver
        self._server = server
        self._refuse, self._set_aside = refuse, set_aside
        self._offsets: dict[Path, int] = {}
        self._waiting: list[Record] | None = None
        self.is_refused = False
        self._lock: int | None = None
        self._is_unreachable = False
        self._wake = threading.Event()
        self._stopping = False
        self._attempted = threading.Condition()
        # The number of the last attempt that has begun, that has ended, and that has delivered everything.
        self._begun = self._ended = self._delivered = 0
        self._num_failed = 0
        self._thread = threading.Thread(target=self._work, name=f"sender {spool.name}", daemon=True)

    def start(self) -> None:
        """Starts to send in the background, every second."""
        self._thread.start()

    def flush(self, timeout_s: float) -> bool:
        """Sends at once. Returns True as soon as all earlier records have arrived, False if an attempt fails.

        It waits up to `timeout_s` for a slow server. If the server is unreachable, it waits until the server's client
        gives up.
        """
        with self._attempted:
            before, failed_before = self._begun, self._num_failed
            self._wake.set()
            # An attempt under way may have read the journals already, so only its failure counts as an answer.
            self._attempted.wait_for(lambda: self._ended > before or self._num_failed > failed_before, timeout_s)
            return self._delivered > before

    def stop(self) -> None:
        """Ends the background work and gives the lock to another process; unsent records stay on the disk."""
        self._stopping = True
        self._wake.set()
        self._thread.join(timeout=SEND_INTERVAL_S)

    def release(self) -> None:
        """Releases the lock, so that another process can send. Only for a sender without background work."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def send(self) -> bool:
        """Tries once to send everything. Returns False if another process sends or the server is unreachable."""
        with self._attempted:
            self._begun += 1
        arrived = self._try_to_send()
        with self._attempted:
            self._ended = self._begun
            if arrived:
                self._delivered = self._begun
            else:
                self._num_failed += 1
            self._attempted.notify_all()
        return arrived

    def _work(self) -> None:
        pause_s = SEND_INTERVAL_S
        while not self._stopping:
            self._wake.wait(pause_s)
            self._wake.clear()
            arrived = self.send()
            has_to_wait = (self._is_unreachable or self.is_refused) and not arrived
            pause_s = min(2 * pause_s, MAX_RETRY_INTERVAL_S) if has_to_wait else SEND_INTERVAL_S
        self.release()

    def _try_to_send(self) -> bool:
        try:
            if not self._has_lock():
                return False
            if self._waiting_files():
                self._send_records([])
            for journal in sorted(self._spool.glob("*.jsonl")):
                self._send_journal(journal)
        except Undeliverable as error:
            self._give_up(str(error))
            return False
        except Exception as error:  # A server or its client may raise anything, and the work must go on.
            if not self._is_unreachable:
                reason = redact_text(one_line(f"{type(error).__name__}: {error}"))[:300]
                text = "%s can't be reached; its records wait in %s (%s)"
                logger.log(self._level, text, self._server, self._spool, reason)
            self._is_unreachable = True
            return False
        if self._is_unreachable:
            logger.log(self._level, "%s is back and has the records that waited in %s", self._server, self._spool)
        self._is_unreachable = False
        return True

    def _give_up(self, reason: str) -> None:
        """Says why, and has the spool set aside, unless more may still be written to it."""
        try:
            if not self.is_refused:
                self._refuse(reason)
            self.is_refused = True
            if not has_writer(self._spool):
                self._set_aside()
                self._offsets.clear()
                self._waiting = None
        except OSError as error:
            logger.warning("%s can't be set aside: %s", self._spool, error)

    def _send_records(self, records: list[Record]) -> None:
        """Sends records after those that have waited, and keeps those that have to wait now."""
        before = self._waiting_files()
        waiting = list(self._deliver([*before, *records]))
        if waiting != before:
            path = self._spool / WAITING_FILES
            if waiting:
                lines = [first_record(self._spool) or {}, *waiting]
                write_private(path, b"".join(json.dumps(line).encode() + b"\n" for line in lines))
            else:
                path.unlink()
            self._waiting = waiting

    def _waiting_files(self) -> list[Record]:
        """The records that have waited, in their order; read once, since only the holder of the lock writes them."""
        if self._waiting is None:
            path = self._spool / WAITING_FILES
            self._waiting = _read(path, 0)[0][1:] if path.exists() else []
        return self._waiting

    def _send_journal(self, journal: Path) -> None:
        ended = _is_unlocked(journal)  # Checked before reading, so that nothing can follow what is read.
        records, end = _read(journal, self._offsets.setdefault(journal, 0))
        if records:
            self._send_records(records)
        self._offsets[journal] = end
        if ended:
            journal.unlink()
            del self._offsets[journal]

    def _has_lock(self) -> bool:
        if self._lock is None:
            self._lock = try_lock(self._spool / LOCK_FILE)
        return self._lock is not None


def try_lock(path: Path) -> int | None:
    """Locks a file, which is made if it is missing.

    The lock lasts until the returned descriptor is closed or this process dies. Returns None if another process has it.
    """
    descriptor = _create_in(path.parent, path.name)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def remove_if_empty(spool: Path) -> None:
    """Removes the folder if nothing is left in it and no process sends from it."""
    try:
        if any(path.name != LOCK_FILE for path in spool.iterdir()) or (lock := try_lock(spool / LOCK_FILE)) is None:
            return
        (spool / LOCK_FILE).unlink()
        os.close(lock)
        spool.rmdir()
    except OSError as error:
        logger.debug("%s is in use again, or gone: %s", spool, error)


def has_writer(spool: Path) -> bool:
    """Whether a living process has a journal in the spool, and so a sender for it."""
    return not all(_is_unlocked(journal) for journal in spool.glob("*.jsonl"))


def first_record(spool: Path) -> Record | None:
    """The header of the spool's oldest journal, which names its run. None if there is nothing to send."""
    for journal in [*sorted(spool.glob("*.jsonl")), *spool.glob(WAITING_FILES)]:
        records, _ = _read(journal, 0)
        return next(iter(records), None)
    return None


def make_private(folder: Path) -> None:
    """Makes a folder that only this user can open: records and the addresses of servers are for nobody else."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)


def write_private(path: Path, data: bytes) -> None:
    """Writes a file that only this user can read, whole or not at all."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.unlink(missing_ok=True)
    with open(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(data)
    aside.rename(path)


def _create_in(folder: Path, name: str) -> int:
    """Opens a file for appending; another process may remove the empty folder in between."""
    while True:
        make_private(folder)
        try:
            return os.open(folder / name, os.O_CREAT | os.O_APPEND | os.O_RDWR, 0o600)
        except FileNotFoundError:
            continue


def _is_unlocked(journal: Path) -> bool:
    with journal.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _read(journal: Path, offset: int) -> tuple[list[Record], int]:
    """The complete lines from `offset` on, and where they end."""
    with journal.open("rb") as file:
        file.seek(offset)
        data = file.read()
    whole = data[: data.rfind(b"\n") + 1]
    return list(_parsed(whole, journal)), offset + len(whole)


def _parsed(lines: bytes, journal: Path) -> Iterator[Record]:
    for line in lines.splitlines():
        try:
            yield json.loads(line)
        except ValueError:  # A full disk or a power cut left it incomplete.
            logger.warning("%s holds a torn line, which is lost: %r", journal, line[:80])
