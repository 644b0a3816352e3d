"""Recovery of what ended runs have left in the spools of this machine.

Their records are sent later, and a run whose driver died is closed in its place.
"""

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.tracking.spool import Journal, Record, Sender, first_record, has_writer, remove_if_empty, try_lock
from pipeline.tracking.undeliverable import FOLDER

logger = logging.getLogger(__name__)

SWEEP_INTERVAL_S = 30.0
DRIVER_FILE = "driver"  # In a spool; it holds the record that closes the run, and is locked while its driver lives.

_swept: set[Path] = set()
os.register_at_fork(after_in_child=_swept.clear)  # A forked child has no thread that sweeps.


def lock_driver_file(spool: Path, header: Record, close: Record) -> int | None:
    """Locks the spool's driver file until the returned descriptor is closed or this process dies.

    Once the lock is free, another process closes the run by the record `close`. Returns None if the lock is taken.
    """
    lock = try_lock(spool / DRIVER_FILE)
    if lock is not None:
        os.ftruncate(lock, 0)
        os.write(lock, json.dumps({"header": header, "close": close}).encode())
    return lock


def start_sweeping(spools: Path, sender_of: Callable[[Path, Record], Sender]) -> None:
    """Sends what lies in the subfolders of `spools`, from now on, in the background.

    `sender_of` makes a sender from a spool and its header.
    """
    if spools not in _swept:
        _swept.add(spools)
        threading.Thread(target=_sweep, args=(spools, sender_of), name="sweep", daemon=True).start()


def _sweep(spools: Path, sender_of: Callable[[Path, Record], Sender]) -> None:
    """Every 30 s, closes runs whose driver died and sends what ended runs have left.

    A spool that a living process writes to is left alone, because its own sender would find it locked.
    """
    waiting: dict[Path, Sender] = {}  # Kept, since each sender reports only once that its server is unreachable.
    while spools.exists():
        for spool in sorted(path for path in spools.iterdir() if path.is_dir() and path.name != FOLDER):
            try:
                _close_abandoned(spool)
                if not has_writer(spool) and (header := first_record(spool)) is not None:
                    sender = waiting.pop(spool, None) or sender_of(spool, header)
                    if not sender.send() and spool.exists():
                        waiting[spool] = sender
                    sender.release()
                remove_if_empty(spool)
            except (OSError, ValueError, TypeError, KeyError) as error:  # Another process was first, or damaged files.
                logger.debug("%s stays: %s", spool, error)
        time.sleep(SWEEP_INTERVAL_S)


def _close_abandoned(spool: Path) -> None:
    file = spool / DRIVER_FILE
    if not file.exists() or (lock := try_lock(file)) is None:
        return
    try:
        last_written_s = max(path.stat().st_mtime for path in spool.iterdir())
        left = json.loads(file.read_bytes())
        journal = Journal(spool, left["header"])
        journal.append({**left["close"], "time": int(last_written_s * 1000)})
        journal.close()
    finally:
        file.unlink(missing_ok=True)
        os.close(lock)
