"""Records on their way to a server that may be away: lines on a disk, sent by one process of a machine.

A spool is a folder. Each process that has something to say appends to a journal of its own there, which takes
microseconds, needs no server and outlives the process. Whoever holds the folder's lock sends for all of them, in
order; when that process dies, the next one takes over. Locks are the kernel's (`flock`), so death frees them.
"""

import fcntl
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

Record = dict[str, Any]

TURN_S = 1.0  # How long a record waits for company.
LONGEST_PAUSE_S = 30.0  # Between two tries while the server is away.
SEGMENT_BYTES = 8 << 20  # A sent journal is removed once its writer has gone on to the next.


class Journal:
    """One process's records: JSON lines in a file that stays locked as long as more may follow.

    `header` is the first record of every segment, so that each can be understood alone. Thread-safe.
    """

    def __init__(self, spool: Path, header: Record) -> None:
        self._spool = spool
        self._header = header
        self._lock = threading.Lock()
        self._open_segment()

    def append(self, record: Record) -> None:
        """Puts one line at the end of the file; OSError when the disk won't have it."""
        line = json.dumps(record).encode() + b"\n"
        with self._lock:
            if self._size + len(line) > SEGMENT_BYTES:
                os.close(self._descriptor)
                self._open_segment()
            self._size += os.write(self._descriptor, line)

    def close(self) -> None:
        with self._lock:
            os.close(self._descriptor)

    def _open_segment(self) -> None:
        """A new file, locked before it bears a name that a sender looks for; names sort by age."""
        name = f"{time.time_ns():020d}-{os.getpid()}"
        self._descriptor = _create_in(self._spool, f"{name}.new")
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        self._size = os.write(self._descriptor, json.dumps(self._header).encode() + b"\n")
        (self._spool / f"{name}.new").rename(self._spool / f"{name}.jsonl")


class Courier:
    """Hands the spool's records to `deliver`, oldest journal first, while it holds the spool's lock.

    `deliver(records)` raises when the server can't be had: the records stay on the disk and come again, so it has to
    recognise what it has seen before. The log says once that the server is away, and once that it is back; for a run
    that ended long ago (`quiet`), only where somebody debugs.
    """

    def __init__(
        self, spool: Path, deliver: Callable[[list[Record]], None], server: str, *, quiet: bool = False
    ) -> None:
        self._level = logging.DEBUG if quiet else logging.WARNING
        self._spool = spool
        self._deliver = deliver
        self._server = server
        self._offsets: dict[Path, int] = {}
        self._lock: int | None = None
        self._away = False
        self._wake = threading.Event()
        self._stopping = False
        self._turned = threading.Condition()
        self._begun = self._ended = self._delivered = 0  # The number of the last turn that did so.
        self._num_failed = 0
        self._thread = threading.Thread(target=self._work, name=f"courier {spool.name}", daemon=True)

    def start(self) -> None:
        """Begins to send in the background, every second."""
        self._thread.start()

    def flush(self, timeout_s: float) -> bool:
        """Tries at once: True as soon as all that was appended before has arrived, False if a try fails.

        A slow server is waited for, up to `timeout_s`; one that is away costs what its client takes to find that out.
        """
        with self._turned:
            before, failed_before = self._begun, self._num_failed
            self._wake.set()
            # A turn that is under way may have read the journals already: only its failure tells anything.
            self._turned.wait_for(lambda: self._ended > before or self._num_failed > failed_before, timeout_s)
            return self._delivered > before

    def stop(self) -> None:
        """Ends the background work and gives the lock to another; unsent records stay on the disk."""
        self._stopping = True
        self._wake.set()
        self._thread.join(timeout=TURN_S)

    def release(self) -> None:
        """Lets another process send, where no background work does."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def turn(self) -> bool:
        """One try to send everything: True if it arrived, False if another process sends or the server is away."""
        with self._turned:
            self._begun += 1
        arrived = self._try_to_send()
        with self._turned:
            self._ended = self._begun
            if arrived:
                self._delivered = self._begun
            else:
                self._num_failed += 1
            self._turned.notify_all()
        return arrived

    def _work(self) -> None:
        pause_s = TURN_S
        while not self._stopping:
            self._wake.wait(pause_s)
            self._wake.clear()
            arrived = self.turn()
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S) if self._away and not arrived else TURN_S
        self.release()

    def _try_to_send(self) -> bool:
        try:
            if not self._leads():
                return False
            for journal in sorted(self._spool.glob("*.jsonl")):
                self._send(journal)
        except Exception as error:  # Whatever a server or its client may raise, the work must go on.
            if not self._away:
                reason = f"{type(error).__name__}: {error}".splitlines()[0][:300]
                text = "%s can't be reached; what it should get waits in %s (%s)"
                logger.log(self._level, text, self._server, self._spool, reason)
            self._away = True
            return False
        if self._away:
            logger.log(self._level, "%s is back and has got what waited in %s", self._server, self._spool)
        self._away = False
        return True

    def _send(self, journal: Path) -> None:
        ended = _is_unlocked(journal)  # Asked before reading, so that nothing can follow what is read.
        records, end = _read(journal, self._offsets.setdefault(journal, 0))
        if records:
            self._deliver(records)
        self._offsets[journal] = end
        if ended:
            journal.unlink()
            del self._offsets[journal]

    def _leads(self) -> bool:
        if self._lock is None:
            self._lock = try_lock(self._spool / "lock")
        return self._lock is not None


def try_lock(path: Path) -> int | None:
    """A descriptor that holds the file's lock until it is closed or this process dies; None if another one does."""
    descriptor = _create_in(path.parent, path.name)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def remove_if_empty(spool: Path) -> None:
    """Removes the folder when nothing is left in it and nobody sends from it."""
    try:
        if any(path.name != "lock" for path in spool.iterdir()) or (lock := try_lock(spool / "lock")) is None:
            return
        (spool / "lock").unlink()
        os.close(lock)
        spool.rmdir()
    except OSError as error:
        logger.debug("%s is in use again, or gone: %s", spool, error)


def has_writer(spool: Path) -> bool:
    """Whether a living process has a journal there, and so a courier."""
    return not all(_is_unlocked(journal) for journal in spool.glob("*.jsonl"))


def first_record(spool: Path) -> Record | None:
    """The header of the oldest journal: whose spool this is."""
    for journal in sorted(spool.glob("*.jsonl")):
        records, _ = _read(journal, 0)
        return next(iter(records), None)
    return None


def _create_in(folder: Path, name: str) -> int:
    """Opens a file for appending; another process may remove the empty folder in between."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
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
    """The whole lines from `offset` on, and where they end."""
    with journal.open("rb") as file:
        file.seek(offset)
        data = file.read()
    whole = data[: data.rfind(b"\n") + 1]
    return list(_parsed(whole, journal)), offset + len(whole)


def _parsed(lines: bytes, journal: Path) -> Iterator[Record]:
    for line in lines.splitlines():
        try:
            yield json.loads(line)
        except ValueError:  # A full disk or a power cut tore it.
            logger.warning("%s holds a torn line, which is lost: %r", journal, line[:80])
