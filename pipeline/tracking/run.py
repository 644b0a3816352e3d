"""A run that a driver opens and closes and that any worker writes to, whether its server can be had or not.

A run is known by a key of ours, kept in the job's output folder, so the driver (driver.py) needs no server to begin,
and the job started again on that folder continues its run. What is logged goes to a spool on the machine's own disk
(desk.py, spool.py).
"""

import io
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from pipeline.storage import Folder
from pipeline.tracking.lifecycle import driver_of, driving
from pipeline.tracking.lineage import Judged, Note
from pipeline.tracking.outbox import PATIENCE_S, desk_of
from pipeline.tracking.spool import Record

logger = logging.getLogger(__name__)


class Server(Protocol):
    """Where records go; see the methods of Run for the kinds of them."""

    def deliver(self, records: list[Record]) -> None:
        """Takes records in their order, some perhaps not for the first time; raises when it can't be reached."""
        ...

    def run_id(self) -> str | None:
        """The server's own name of the run, None when it can't be asked."""
        ...


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
        self.append("metrics", values={name: float(value) for name, value in values.items()}, step=step, **judged)

    def figure(self, name: str, image: np.ndarray, *, step: int = 0) -> None:
        """A picture (H, W, 3) uint8 of a step: a grid, not thousands. Costs this process the encoding."""
        encoded = io.BytesIO()
        Image.fromarray(image).save(encoded, "PNG", compress_level=1)
        self._append_file("figure", encoded.getvalue(), name=name, step=step)

    def artifact(self, name: str, data: bytes) -> None:
        """A file kept with the run, e.g. `report.html`; it takes the place of one of that name."""
        self._append_file("artifact", data, name=name)

    def tag(self, name: str, value: object) -> None:
        self.append("tags", values={name: str(value)})

    def input(self, name: str, url: str, fingerprint: str) -> None:
        """What the stage reads."""
        self.append("input", name=name, url=url, fingerprint=fingerprint)

    def output(self, name: str, url: str, fingerprint: str) -> None:
        """What the stage has made: tags `output.NAME` and `output.NAME.fingerprint`, by which runs are found."""
        self.append("tags", values={f"output.{name}": url, f"output.{name}.fingerprint": fingerprint})

    def model(self, name: str, url: str, fingerprint: str, *, sha256: str | None = None) -> None:
        """A checkpoint, made known to the server unless it is; `sha256` is that of the file of weights."""
        self.append("model", name=name, url=Folder(url).url, fingerprint=fingerprint, sha256=sha256)

    def child(self, name: str, configuration: object, *, out: str | None = None) -> AbstractContextManager["Run"]:
        """A stage of this run, as a run: see `driving`."""
        stage = replace(self, key=kept_key(out) or new_key(), name=name, parent=self.key)
        return driving(stage, configuration, out=out, parent=self)

    def flush(self, timeout_s: float = PATIENCE_S) -> bool:
        """Sends what has been logged, for a worker that is about to end; False where it has to wait on the disk."""
        try:
            return desk_of(self).courier.flush(timeout_s)
        except OSError as error:
            logger.warning("Run %s can't be written to %s: %s", self.name, self.folder, error)
            return False

    @property
    def id(self) -> str | None:
        """The server's name of the run, None as long as it has not been reached."""
        self.begin()
        try:
            return desk_of(self).server.run_id()
        except Exception as error:  # Of any kind, as for the courier: whoever asks goes on.
            logger.debug("Run %s has no id yet: %s", self.name, error)
            return None

    @property
    def folder(self) -> Path:
        """The run's spool on this machine."""
        return Path(self.spool).expanduser() / self.key

    @property
    def header(self) -> Record:
        """What a journal begins with: enough to make this handle again."""
        run = asdict(self)
        del run["connect"]
        return {"kind": "run", "run": run}

    def another(self, spool: Path, header: Record) -> "Run":
        """The handle of a run that has left this spool here, from what its journal begins with."""
        return Run(**{**header["run"], "spool": str(spool.parent)}, connect=self.connect)

    def begin(self) -> None:
        """Opens the run where this process answers for it, unless that has been done."""
        if (driver := driver_of(self)) is not None:
            driver.begin()

    def append(self, kind: str, **content: Any) -> None:
        """A record for the server, whose kinds are those of the methods above, `open` and `close`."""
        self.begin()
        if (driver := driver_of(self)) is not None:
            driver.note.hear(kind, content)
        try:
            desk_of(self).journal.append({"kind": kind, "time": time.time_ns() // 1_000_000, **content})
        except OSError as error:
            logger.warning("Lost a record of run %s, for %s can't be written: %s", self.name, self.folder, error)

    def __getstate__(self) -> dict[str, Any]:
        self.begin()  # Only the driver can make the run: whoever gets the handle will find it made.
        return self.__dict__

    def _append_file(self, kind: str, data: bytes, **content: Any) -> None:
        self.begin()
        file = self.folder / f"{uuid.uuid4().hex}.data"
        try:
            desk_of(self)  # Makes the folder.
            file.write_bytes(data)
        except OSError as error:
            logger.warning("Lost a %s of run %s, for %s can't be written: %s", kind, self.name, self.folder, error)
        else:
            self.append(kind, file=file.name, **content)


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
