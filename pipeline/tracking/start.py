"""The start of a job's run: where runs are kept, and whether they can be kept there.

with start_run("train", config.tracking, config, out=config.out) as run:
    run.metrics({"loss": 0.3}, step=10)
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import tyro

from bar_model.errors import BadInput
from pipeline.tracking.address import RunAddress
from pipeline.tracking.lifecycle import driving
from pipeline.tracking.mlflow_server import client_of, make_tables
from pipeline.tracking.run import Run, run_key

SERVERS = ("http", "https", "databricks")
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


@dataclass(frozen=True, kw_only=True)
class TrackingConfig:
    """Where runs are kept: as MLflow's environment variables say, or else in mlflow.db in the working folder."""

    uri: str | None = None
    """MLflow's server or database, http://host:5000 or sqlite:///mlflow.db (else: MLFLOW_TRACKING_URI)."""
    experiment: Annotated[str | None, tyro.conf.arg(prefix_name=False, aliases=["--tracking.experiment"])] = None
    """Experiment of the run (else: MLFLOW_EXPERIMENT_NAME, then `bar`)."""
    spool: str = "~/.cache/bar/tracking"
    """Folder on each machine for records that the server does not have yet."""


@contextmanager
def start_run(name: str, config: TrackingConfig, configuration: object, *, out: str | None = None) -> Iterator[Run]:
    """A job's run for as long as the block lasts (see `driving`).

    A job that is started again on the same `out` continues its run. Inside another program's run (MLFLOW_RUN_ID), the
    job's run is a child of that one.

    Raises:
        BadInput: Runs can't be kept at the URI, or the spool can't be written.
    """
    uri = _absolute(config.uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db")
    _make_ready(uri, Path(config.spool).expanduser())
    address = RunAddress(
        key=run_key(out),
        name=name,
        uri=uri,
        experiment=config.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or "bar",
        spool=config.spool,
    )
    outer = os.environ.get("MLFLOW_RUN_ID")
    with driving(address, configuration, out=out, tags={"mlflow.parentRunId": outer} if outer else None):
        yield Run(address)


def _absolute(uri: str) -> str:
    """The URI in a form that does not depend on the working folder."""
    known = (*SERVERS, *DATABASES)
    if urlsplit(uri).scheme.partition("+")[0] not in known:
        raise BadInput(f"tracking.uri {uri!r} is no server or database: begin it with {':, '.join(known)}:")
    folder, _, file = uri.partition(":///")
    return f"sqlite:///{Path(file).absolute()}" if folder == "sqlite" else uri


def _make_ready(uri: str, spool: Path) -> None:
    """Makes the spool, imports MLflow while nothing waits for it, and makes the tables of a database."""
    try:
        spool.mkdir(parents=True, exist_ok=True)
        lock = (spool / "database.lock").open("w")
    except OSError as error:
        raise BadInput(f"tracking.spool {spool} can't be written ({error.strerror}): name another folder") from error
    with lock:
        if urlsplit(uri).scheme in SERVERS:
            client_of(uri)
        else:
            fcntl.flock(lock, fcntl.LOCK_EX)  # Of processes that make the tables at once, all but one would fail.
            make_tables(uri)
