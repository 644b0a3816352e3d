"""Databases that can't keep runs are named in one line, at once, without their passwords."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from bar_model.errors import BadInput
from pipeline.tracking.database import check_database, check_file, sqlite_file
from pipeline.tracking.mlflow_client import make_tables

pytest_plugins = ["tests.harness.fixtures_postgres"]


def test_the_file_of_a_uri() -> None:
    assert sqlite_file("sqlite:////a/b.db?timeout=3") == Path("/a/b.db")
    assert sqlite_file("sqlite:///mlflow.db") == Path("mlflow.db")
    assert sqlite_file("postgresql://h/db") is None
    for uri in ("sqlite://", "sqlite:///:memory:"):
        with pytest.raises(BadInput, match="in memory alone"):
            sqlite_file(uri)


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("sqlite:///{folder}", "is a folder"),
        ("sqlite:///{folder}/file/mlflow.db", "is a file"),
        ("sqlite:///{folder}/file", "file is not a database"),
        ("sqlite:////proc/none/mlflow.db", "tracking.uri"),
        ("postgresql://u:geheim@127.0.0.1:1/db", "tracking.uri postgresql://u:***@127.0.0.1:1/db"),
        ("mysql+pymysql://u:ge/hei@m@127.0.0.1:1/db", "tracking.uri mysql+pymysql://u:***@127.0.0.1:1/db"),
        ("mssql://u:geheim@/db?driver=none", "tracking.uri mssql://u:***@/db?driver=none"),
    ],
)
def test_what_is_no_database_is_named_in_one_line(tmp_path: Path, uri: str, reason: str) -> None:
    (tmp_path / "file").write_bytes(b"This is the text of a file that is no database.\n" * 30)
    with pytest.raises(BadInput) as caught:
        check_database(uri.format(folder=tmp_path))
    message = str(caught.value)
    assert reason in message
    assert "\n" not in message
    assert "geheim" not in message
    assert "ge/hei" not in message


def test_a_database_that_can_only_be_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    sqlite3.connect(file).close()
    check_database(f"sqlite:///{file}")
    with pytest.raises(BadInput, match="readonly"):
        check_database(f"sqlite:///file:{file}?mode=ro&uri=true")


@pytest.mark.system
def test_a_database_of_a_newer_mlflow_is_refused(tmp_path: Path) -> None:
    """In a process of its own each time, since MLflow keeps what it has opened."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    make_tables(uri)
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        database.execute("UPDATE alembic_version SET version_num = 'newer'")
    program = f"from pipeline.tracking.mlflow_client import make_tables; make_tables({uri!r})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "database schema" in done.stderr.splitlines()[-1]
    assert "BadInput: tracking.uri" in done.stderr.splitlines()[-1]


def test_a_folder_that_can_not_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"mlflow\.db.*can't be written.*MLFLOW_TRACKING_URI"):
        check_file(Path("/proc/mlflow.db"))
    check_file(tmp_path / "deeper" / "mlflow.db")
    assert not list(tmp_path.iterdir())


@pytest.mark.system
def test_a_missing_database_of_postgresql_is_named(postgres: str) -> None:
    check_database(postgres)
    with pytest.raises(BadInput, match="does not exist"):
        check_database(f"{postgres}-missing")
