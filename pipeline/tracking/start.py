"""The beginning of a job's run: where runs are kept, and whether they can be kept there.

with start_run("train", config.tracking, config, out=config.out) as run:
    run.metrics({"loss": 0.3}, step=10)
"""

import fcntl
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import tyro

from bar_model.errors import BadInput
from pipeline.tracking.lifecycle import driving
from pipeline.tracking.mlflow_server import MlflowRun, client_of
from pipeline.tracking.run import Run, kept_key, new_key

SERVERS = ("http", "https", "databricks")
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


@dataclass(frozen=True, kw_only=True)
class TrackingConfig:
    """Where runs are kept: MLflow's own environment variables count, and else mlflow.db in the working folder."""

    uri: str | None = None
    """MLflow's server or database, http://host:5000 or sqlite:///mlflow.db (else: MLFLOW_TRACKING_URI)."""
    experiment: Annotated[str | None, tyro.conf.arg(prefix_name=False, aliases=["--tracking.experiment"])] = None
    """Experiment of the run (else: MLFLOW_EXPERIMENT_NAME, then `bar`)."""
    spool: str = "~/.cache/bar/tracking"
    """Folder on each machine for what the server has not got yet."""


def start_run(
    name: str, config: TrackingConfig, configuration: object, *, out: str | None = None
) -> AbstractContextManager[Run]:
    """A run of its own, as `driver.driving` describes; started again on the same `out`, a job continues its run.

    Inside another's run (MLFLOW_RUN_ID) it is a child of that one. BadInput where runs can't be kept.
    """
    uri = _absolute(config.uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db")
    _make_ready(uri, Path(config.spool).expanduser())
    run = Run(
        key=kept_key(out) or new_key(),
        name=name,
        uri=uri,
        experiment=config.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or "bar",
        spool=config.spool,
        parent=None,
        connect=MlflowRun,
    )
    outer = os.environ.get("MLFLOW_RUN_ID")
    return driving(run, configuration, out=out, tags={"mlflow.parentRunId": outer} if outer else None)


def _absolute(uri: str) -> str:
    """The URI as any process of this machine understands it."""
    known = (*SERVERS, *DATABASES)
    if urlsplit(uri).scheme.partition("+")[0] not in known:
        raise BadInput(f"tracking.uri {uri!r} is no server or database: begin it with {':, '.join(known)}:")
    folder, _, file = uri.partition(":///")
    return f"sqlite:///{Path(file).absolute()}" if folder == "sqlite" else uri


def _make_ready(uri: str, spool: Path) -> None:
    """Makes the spool and, in a local database, the tables: of processes that race to make them, all but one fail."""
    try:
        spool.mkdir(parents=True, exist_ok=True)
        lock = (spool / "database.lock").open("w")
    except OSError as error:
        raise BadInput(f"tracking.spool {spool} can't be written ({error.strerror}): name another folder") from error
    if urlsplit(uri).scheme in SERVERS:
        lock.close()
        client_of(uri)  # Imports MLflow while nobody waits for it.
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            client_of(uri).search_experiments(max_results=1)
        except Exception as error:  # SQLAlchemy's, MLflow's or the system's, of many kinds.
            reason = str(error).splitlines()[0]
            raise BadInput(f"tracking.uri {uri} can't be opened ({reason}): name another database") from error
