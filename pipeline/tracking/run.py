"""A run as jobs and workers use it: what can be logged to it.

Logging never raises and never waits for the server: records go to a spool on the machine's own disk (outbox.py,
spool.py), from where they are sent. On the driver, the first record begins the run (lifecycle.py).
"""

import io
import logging
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import NoReturn

import numpy as np
from PIL import Image

from pipeline.storage import Folder
from pipeline.tracking.address import RunAddress
from pipeline.tracking.lifecycle import begin_run, driving, log_file, log_record
from pipeline.tracking.lineage import Judged, RunSummary
from pipeline.tracking.outbox import FLUSH_TIMEOUT_S, flush_outbox, outbox_of

logger = logging.getLogger(__name__)


class Run:
    """Logs to the run at an address.

    One metric of a run is written by one process at a time, once for each step: a step that the server has is not sent
    again. A run is not pickled: workers get its address from `for_workers`, and make `Run(address)` of it.
    """

    def __init__(self, address: RunAddress) -> None:
        self._address = address

    def for_workers(self) -> RunAddress:
        """Opens the run, which only its driver can do, and returns the address for other processes."""
        begin_run(self._address)
        return self._address

    @property
    def uri(self) -> str:
        """The server or database that keeps the run."""
        return self._address.uri

    @property
    def experiment(self) -> str:
        """The name of the run's experiment."""
        return self._address.experiment

    def metrics(self, values: Mapping[str, float], *, step: int = 0, of: Judged | None = None) -> None:
        """Logs points of curves, at the time of this call. A name may hold `/`, which groups curves.

        With `of`, they are figures of a checkpoint as well, which can be searched by them.
        """
        judged = {} if of is None else {"of": of}
        numbers = {name: float(value) for name, value in values.items()}
        log_record(self._address, "metrics", values=numbers, step=step, **judged)

    def image(self, name: str, image: np.ndarray, *, step: int = 0) -> None:
        """Logs one image (H, W, 3) uint8 of a step, such as a grid. This process encodes it."""
        encoded = io.BytesIO()
        Image.fromarray(image).save(encoded, "PNG", compress_level=1)
        log_file(self._address, "figure", encoded.getvalue(), name=name, step=step)

    def artifact(self, name: str, data: bytes) -> None:
        """Keeps a file with the run, e.g. `report.html`, in place of an earlier one of that name."""
        log_file(self._address, "artifact", data, name=name)

    def tag(self, name: str, value: object) -> None:
        """Sets a tag of the run."""
        log_record(self._address, "tags", values={name: str(value)})

    def input(self, name: str, url: str, fingerprint: str) -> None:
        """Logs something that the stage reads."""
        log_record(self._address, "input", name=name, url=url, fingerprint=fingerprint)

    def output(self, name: str, url: str, fingerprint: str) -> None:
        """Logs something that the stage has made, as tags `output.NAME` and `output.NAME.fingerprint`."""
        log_record(self._address, "tags", values={f"output.{name}": url, f"output.{name}.fingerprint": fingerprint})

    def model(self, name: str, url: str, fingerprint: str, *, sha256: str | None = None) -> None:
        """Registers a checkpoint, unless the server knows it; `sha256` is that of the file of weights."""
        log_record(self._address, "model", name=name, url=Folder(url).url, fingerprint=fingerprint, sha256=sha256)

    @contextmanager
    def child(self, name: str, configuration: object, *, out: str | None = None) -> Iterator["Run"]:
        """A stage of this run, as a run of its own for as long as the block lasts (see `driving`)."""
        address = replace(self._address, key=run_key(out), name=name, parent=self._address.key)
        with driving(address, configuration, out=out):
            yield Run(address)

    def flush(self, timeout_s: float = FLUSH_TIMEOUT_S) -> bool:
        """Sends what has been logged, before a worker ends. Returns False if records have to wait on the disk."""
        return flush_outbox(self._address, timeout_s)

    def run_id(self) -> str | None:
        """Opens the run and returns the server's id of it. None as long as the server can't be reached."""
        begin_run(self._address)
        try:
            return outbox_of(self._address).server.run_id()
        except Exception as error:  # A server or its client may raise anything, and the job must go on.
            logger.debug("Run %s has no id yet: %s", self._address.name, error)
            return None

    def __reduce__(self) -> NoReturn:
        raise RuntimeError(
            f"run {self._address.name!r} can't be pickled, since nothing would have opened it: send "
            "run.for_workers(), and make Run(address) of that in the worker"
        )


def run_key(out: str | None) -> str:
    """The key of the run that an output folder belongs to, or a new one if there is none."""
    summary = RunSummary.read_if_whole(Folder(out)) if out is not None else None
    return summary.run if summary is not None else uuid.uuid4().hex
