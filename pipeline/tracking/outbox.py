"""This process's end of each run that it writes to: a journal on its own disk, and the courier that empties it."""

import os
import threading
from typing import TYPE_CHECKING

from pipeline.tracking.spool import Courier, Journal

if TYPE_CHECKING:
    from pipeline.tracking.run import Run

PATIENCE_S = 60.0  # How long the beginning and the end of a run wait for a server that answers, however slowly.


class Desk:
    """Journal, courier and server of a run; OSError where its folder can't be written."""

    def __init__(self, run: "Run") -> None:
        self.server = run.connect(run)
        self.journal = Journal(run.folder, run.header)
        self.courier = Courier(run.folder, self.server.deliver, run.uri)
        self.courier.start()

    def leave(self, timeout_s: float = PATIENCE_S) -> bool:
        """Sends what there is and ends; False where something has to wait on the disk."""
        self.journal.close()
        arrived = self.courier.flush(timeout_s)
        self.courier.stop()
        return arrived


_desks: dict[str, Desk] = {}
_lock = threading.Lock()


def desk_of(run: "Run") -> Desk:
    """The one of this process, set up where there is none yet."""
    with _lock:
        if run.key not in _desks:
            _desks[run.key] = Desk(run)
        return _desks[run.key]


def clear_desk(run: "Run") -> Desk | None:
    """The one of this process, which it no longer has; None where there was none."""
    return _desks.pop(run.key, None)


def _forget() -> None:
    """A forked child has these but not their threads: it sets up desks of its own."""
    global _lock
    _lock = threading.Lock()
    _desks.clear()


os.register_at_fork(after_in_child=_forget)
