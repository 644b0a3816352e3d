"""What ended runs of this machine have left in their spools: sent later, and closed where the driver just died."""

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.tracking.spool import Courier, Journal, Record, first_record, has_writer, remove_if_empty, try_lock

logger = logging.getLogger(__name__)

SWEEP_S = 30.0  # Between two looks.
DRIVER_FILE = "driver"  # In a spool, with the record that would close the run; locked while its driver lives.

_swept: set[Path] = set()
os.register_at_fork(after_in_child=_swept.clear)  # A forked child has no thread that sweeps.


def sign_of_life(spool: Path, header: Record, close: Record) -> int | None:
    """A lock that this process holds until it closes it or dies; then others close the run with `close`."""
    lock = try_lock(spool / DRIVER_FILE)
    if lock is not None:
        os.ftruncate(lock, 0)
        os.write(lock, json.dumps({"header": header, "close": close}).encode())
    return lock


def sweep_from_now_on(spools: Path, courier_of: Callable[[Path, Record], Courier]) -> None:
    """Looks after the folder of all spools in the background; `courier_of` takes a spool and its header."""
    if spools not in _swept:
        _swept.add(spools)
        threading.Thread(target=_sweep, args=(spools, courier_of), name="sweep", daemon=True).start()


def _sweep(spools: Path, courier_of: Callable[[Path, Record], Courier]) -> None:
    """Spools that somebody writes to are left to their own couriers, which would find them locked meanwhile."""
    waiting: dict[Path, Courier] = {}  # Kept, for each says only once that its server is away.
    while spools.exists():
        for spool in sorted(path for path in spools.iterdir() if path.is_dir()):
            try:
                _close_abandoned(spool)
                if not has_writer(spool) and (header := first_record(spool)) is not None:
                    courier = waiting.pop(spool, None) or courier_of(spool, header)
                    if not courier.turn():
                        waiting[spool] = courier
                    courier.release()
                remove_if_empty(spool)
            except (OSError, ValueError, TypeError, KeyError) as error:  # Somebody was quicker, or a file is damaged.
                logger.debug("%s stays: %s", spool, error)
        time.sleep(SWEEP_S)


def _close_abandoned(spool: Path) -> None:
    file = spool / DRIVER_FILE
    if not file.exists() or (lock := try_lock(file)) is None:
        return
    try:
        last_sign_s = max(path.stat().st_mtime for path in spool.iterdir())
        left = json.loads(file.read_bytes())
        journal = Journal(spool, left["header"])
        journal.append({**left["close"], "time": int(last_sign_s * 1000)})
        journal.close()
    finally:
        file.unlink(missing_ok=True)
        os.close(lock)
