"""Where tests keep their runs: a database, or an MLflow server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.tracking.start import TrackingConfig
from tests.harness.mlflow_server import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An MLflow server on SQLite."""
    folder: Path = tmp_path_factory.mktemp("server")
    server = Server(
        *("--port", "5000", "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", str(folder / "files")),
    )
    yield server
    server.end()


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URI of a database that all tests of a session share."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def mlflow_here(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> TrackingConfig:
    """Keeps runs in that database, in an experiment of the test's own."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)  # Where MLflow puts the files of an experiment in a local database.
    return TrackingConfig(uri=database, experiment=request.node.name, spool=str(tmp_path / "spool"))
