"""Files of runs on their way to a store of artifacts, which may fail while the server of runs does not."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from bar_model.errors import one_line
from pipeline.redaction import redact_text
from pipeline.tracking.spool import Record, Undeliverable

logger = logging.getLogger(__name__)

PAUSE_S = 30.0
"""Before a store that failed is tried again; ten times as long as the failure took, if that is longer."""


class FileDelivery:
    """Sends files in their order. Those that a store does not take wait, which is said once, and hold nothing else up.

    An earlier file of a name must not replace a later one, so none overtakes another.
    """

    def __init__(self, sender: str, spool: Path, *, quiet: bool) -> None:
        self._sender, self._spool = sender, spool
        self._level = logging.DEBUG if quiet else logging.WARNING
        self._is_away, self._try_at = False, 0.0

    def send(self, records: list[Record], send: Callable[[Record], None], store: Callable[[], str]) -> list[Record]:
        """Sends the files of these records, and gives the records of those that wait; `store` names the store.

        Raises:
            Undeliverable: as `send` raises it.
        """
        if not records or (self._is_away and time.monotonic() < self._try_at):
            return records
        for place, record in enumerate(records):
            started = time.monotonic()
            try:
                send(record)
            except Undeliverable:
                raise
            except Exception as error:  # Of the store's library, of many kinds.
                if not self._is_away:
                    reason = redact_text(one_line(f"{type(error).__name__}: {error}"))[:300]
                    text = "The artifact store of %s takes no files; they wait in %s: check %s and its credentials (%s)"
                    logger.log(self._level, text, self._sender, self._spool, store(), reason)
                self._is_away = True
                now = time.monotonic()
                self._try_at = now + max(PAUSE_S, 10 * (now - started))
                return records[place:]
        if self._is_away:
            logger.log(self._level, "The artifact store of %s has the files that waited", self._sender)
        self._is_away = False
        return []
