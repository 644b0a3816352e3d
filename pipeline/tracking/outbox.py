"""The outbox of a run in this process: a journal on this machine's disk, and the sender that empties it.

Nothing here raises because of a server or a disk: what is lost or has to wait is reported in the log.
"""

import logging
import os
import threading
import time
import uuid
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.redaction import redact_text, redacted, redacted_values
from pipeline.tracking.address import RunAddress
from pipeline.tracking.mlflow_server import MlflowRun
from pipeline.tracking.spool import Journal, Record, Sender, write_private
from pipeline.tracking.undeliverable import explain, set_aside, set_aside_folder

logger = logging.getLogger(__name__)

FLUSH_TIMEOUT_S = 60.0
"""How long the beginning and the end of a run wait for a server that answers slowly."""


class Outbox:
    """The journal, the sender and the server of a run.

    Raises:
        OSError: The run's spool can't be written.
    """

    def __init__(self, address: RunAddress) -> None:
        self.server = MlflowRun(address)
        self.journal = Journal(address.folder, journal_header(address))
        self.sender = _sender(address, self.server)
        self.sender.start()

    def close(self, timeout_s: float = FLUSH_TIMEOUT_S) -> bool:
        """Sends what is left and ends. Returns False if some records have to wait on the disk."""
        self.journal.close()
        arrived = self.sender.flush(timeout_s)
        self.sender.stop()
        return arrived


_outboxes: dict[str, Outbox] = {}
_lock = threading.Lock()


def outbox_of(address: RunAddress) -> Outbox:
    """This process's outbox of the run, which is made if there is none yet.

    Raises:
        OSError: The run's spool can't be written.
    """
    with _lock:
        if address.key not in _outboxes:
            _outboxes[address.key] = Outbox(address)
        return _outboxes[address.key]


def take_outbox(address: RunAddress) -> Outbox | None:
    """Takes this process's outbox of the run away, so that it can be closed. None if there is none."""
    return _outboxes.pop(address.key, None)


def put_record(address: RunAddress, kind: str, **content: Any) -> None:
    """Puts a record, without secrets of URLs, into the outbox. Its kind is that of a method of `MlflowRun`."""
    try:
        shown = redacted_values(content, redact_text)
        outbox_of(address).journal.append({"kind": kind, "time": time.time_ns() // 1_000_000, **shown})
    except OSError as error:
        logger.warning("Lost a record of run %s: %s can't be written: %s", address.name, address.folder, error)


def put_file(address: RunAddress, kind: str, data: bytes, **content: Any) -> None:
    """Puts a record with a file into the outbox; the record's `file` names the file in the spool."""
    file = address.folder / f"{uuid.uuid4().hex}.data"
    try:
        outbox_of(address)  # Makes the folder.
        write_private(file, data)
    except OSError as error:
        logger.warning("Lost a %s of run %s: %s can't be written: %s", kind, address.name, address.folder, error)
    else:
        put_record(address, kind, file=file.name, **content)


def flush_outbox(address: RunAddress, timeout_s: float = FLUSH_TIMEOUT_S) -> bool:
    """Sends what is in the outbox. Returns False if some records have to wait on the disk."""
    try:
        return outbox_of(address).sender.flush(timeout_s)
    except OSError as error:
        logger.warning("Run %s can't be written to %s: %s", address.name, address.folder, error)
        return False


def journal_header(address: RunAddress) -> Record:
    """The first record of a journal, from which `address_in` makes the address again."""
    return {"kind": "run", "run": asdict(address)}


def address_in(header: Record, spool: Path) -> RunAddress:
    """The address of the run that has left this spool on this machine, by the header of one of its journals."""
    return RunAddress(**{**header["run"], "spool": str(spool.parent)})


def sender_for_ended_run(spool: Path, header: Record) -> Sender:
    """A sender for a spool that a run of another process has left on this machine."""
    address = address_in(header, spool)
    return _sender(address, MlflowRun(address, quiet=True), quiet=True)


def _sender(address: RunAddress, server: MlflowRun, *, quiet: bool = False) -> Sender:
    spool, uri = address.folder, redacted(address.uri)

    def refuse(reason: str) -> None:
        if explain(spool, uri, reason):
            text = "%s will not take run %s (%s): its records are kept in %s, and the text beside it says what to do"
            logger.warning(text, uri, address.name, reason, set_aside_folder(spool))

    return Sender(spool, server.deliver, uri, quiet=quiet, refuse=refuse, set_aside=partial(set_aside, spool))


def _forget() -> None:
    """A forked child has its parent's outboxes but not their threads, so it makes outboxes of its own."""
    global _lock
    _lock = threading.Lock()
    _outboxes.clear()


os.register_at_fork(after_in_child=_forget)
