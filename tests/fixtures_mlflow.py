"""An MLflow server for tests that need no other."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mlflow_server import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """On SQLite."""
    folder: Path = tmp_path_factory.mktemp("server")
    server = Server(
        *("--port", "5000", "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", str(folder / "files")),
    )
    yield server
    server.end()
