"""The start of a job's run: where runs are kept, and whether they can be kept there.

with start_run("train", config.tracking, config, out=config.out) as run:
    run.metrics({"loss": 0.3}, step=10)
"""

import fcntl
import os
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import tyro

from bar_model.errors import BadInput
from pipeline.paths import check_lasts, check_whole
from pipeline.tracking.address import RunAddress
from pipeline.tracking.database import DATABASES, check_database, check_file, sqlite_file
from pipeline.tracking.lifecycle import driving
from pipeline.tracking.mlflow_client import check_experiment, check_experiment_once, client_of, is_server, make_tables
from pipeline.tracking.run import Run, run_key
from pipeline.tracking.spool import make_private

DEFAULT_URI = "sqlite:///mlflow.db"
LONGEST_EXPERIMENT = 500
LONGEST_IN_DATABASE = 256
"""Characters of an experiment's name: MLflow's limit, and that of its column, which SQLite does not hold to."""


@dataclass(frozen=True, kw_only=True)
class TrackingConfig:
    """Where runs are kept: as MLflow's environment variables say, or else in mlflow.db in the working folder."""

    uri: str | None = None
    """MLflow's server or database, http://host:5000 or sqlite:///mlflow.db (else: MLFLOW_TRACKING_URI)."""
    experiment: Annotated[str | None, tyro.conf.arg(prefix_name=False, aliases=["--tracking.experiment"])] = None
    """Experiment of the run (else: MLFLOW_EXPERIMENT_NAME, then `bar`)."""
    spool: str = "~/.cache/bar/tracking"
    """Folder on each machine for records that the server does not have yet."""

    def __post_init__(self) -> None:
        if self.experiment is not None:
            _check_name("experiment", self.experiment)

    @property
    def address(self) -> str:
        """The URI that is given here, by MLflow's environment variable or by default; independent of the folder.

        Raises:
            BadInput: It names no server or database.
        """
        return _absolute(self.uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI)

    def check_before_work(self) -> None:
        """Looks at the experiment, the server or database and the spool, without making any of them.

        A server that does not answer is no reason to refuse: its records wait.

        Raises:
            BadInput: Runs can't be kept there.
        """
        _check_spool(Path(self.spool).expanduser())
        if self.experiment is None and (name := os.environ.get("MLFLOW_EXPERIMENT_NAME")):
            _check_name("MLFLOW_EXPERIMENT_NAME", name)
        check_whole(self.address)
        if (file := sqlite_file(self.address)) is not None:
            named = self.uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
            check_lasts(named.partition(":///")[2], "tracking.uri")
            check_file(file)
        if is_server(self.address):
            check_experiment_once(self.address, self.experiment_name)
        elif file is None or file.exists():
            check_database(self.address)

    @property
    def experiment_name(self) -> str:
        """The name that is given here, by MLflow's environment variable or by default."""
        return self.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or "bar"


@contextmanager
def start_run(name: str, config: TrackingConfig, configuration: object, *, out: str | None = None) -> Iterator[Run]:
    """A job's run for as long as the block lasts (see `driving`).

    A job that is started again on the same `out` continues its run. Inside another program's run (MLFLOW_RUN_ID), the
    job's run is a child of that one.

    Raises:
        BadInput: Runs can't be kept at the URI, or the spool can't be written.
    """
    config.check_before_work()
    uri, spool, experiment = config.address, config.spool, config.experiment_name
    if not spool.startswith("~"):  # A home is that of each machine.
        spool = str(Path(spool).absolute())
    _make_ready(uri, Path(spool).expanduser(), experiment)
    address = RunAddress(
        key=run_key(out),
        name=name,
        uri=uri,
        experiment=experiment,
        spool=spool,
    )
    outer = os.environ.get("MLFLOW_RUN_ID")
    with driving(address, configuration, out=out, tags={"mlflow.parentRunId": outer} if outer else None):
        yield Run(address)


def _absolute(uri: str) -> str:
    """The URI in a form that does not depend on the working folder."""
    if is_server(uri):
        return uri
    scheme = urlsplit(uri).scheme.partition("+")[0]
    if scheme not in DATABASES:
        known = ":, ".join(("http", "https", *DATABASES))
        raise BadInput(f"tracking.uri {uri!r} is no server or database: begin it with {known}:, or say databricks")
    file = sqlite_file(uri)
    folder, separator, rest = uri.partition(":///")
    return uri if file is None or not separator else f"{folder}:///{Path(rest).absolute()}"


def _check_name(what: str, name: str) -> None:
    """Checks the name of an experiment by MLflow's rules, and by those of the databases behind it."""
    remedy = "name it in other words, such as --experiment bar"
    if not name.strip():
        raise BadInput(f"{what} is empty: {remedy}")
    if len(name) > LONGEST_EXPERIMENT:
        raise BadInput(f"{what} has {len(name)} characters, more than MLflow's {LONGEST_EXPERIMENT}: {remedy}")
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        raise BadInput(f"{what} {name!r} has control characters: {remedy}")


def _check_spool(spool: Path) -> None:
    there = next(each for each in (spool.absolute(), *spool.absolute().parents) if each.exists())
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        raise _unwritable(spool, error) from error


def _unwritable(spool: Path, error: OSError) -> BadInput:
    return BadInput(f"tracking.spool {spool} can't be written ({error.strerror}): name another folder")


def _make_ready(uri: str, spool: Path, experiment: str) -> None:
    """Makes the spool, imports MLflow while nothing waits for it, and makes the tables of a database."""
    try:
        make_private(spool)
        lock = os.open(spool / "database.lock", os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise _unwritable(spool, error) from error
    try:
        if is_server(uri):
            client_of(uri)
        else:
            if sqlite_file(uri) is None and len(experiment) > LONGEST_IN_DATABASE:
                raise BadInput(f"experiment has {len(experiment)} characters, a database keeps {LONGEST_IN_DATABASE}")
            fcntl.flock(lock, fcntl.LOCK_EX)  # Of processes that make the tables at once, all but one would fail.
            make_tables(uri)
            check_experiment(uri, experiment)
    finally:
        os.close(lock)
