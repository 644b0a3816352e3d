"""A PostgreSQL of its own for tests: Debian's programs, a fresh cluster in a temporary folder."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

PROGRAMS = Path("/usr/lib/postgresql")


@pytest.fixture
def postgres() -> Iterator[str]:
    """The URI of an empty database."""
    versions = sorted(PROGRAMS.glob("*/bin/initdb"))
    if not versions:
        pytest.skip("there is no PostgreSQL here: apt-get install postgresql")
    if find_spec("psycopg") is None:
        pytest.skip("there is no driver for PostgreSQL here: pip install psycopg[binary]")
    programs = versions[-1].parent
    folder = Path(tempfile.mkdtemp(prefix="postgres"))  # Shorter than pytest's, and not below a folder of root's.
    as_user: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL will not run as root.
        shutil.chown(folder, "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])

    def run(program: str, *arguments: str) -> None:
        command = [*as_user, str(programs / program), *arguments]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)

    data = str(folder / "data")
    options = f"-h 127.0.0.1 -p {port} -k {folder}"
    run("initdb", "-D", data, "-U", "mlflow", "--auth=trust", "--no-sync")
    run("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
    try:
        run("createdb", "-h", "127.0.0.1", "-p", port, "-U", "mlflow", "mlflow")
        yield f"postgresql://mlflow@127.0.0.1:{port}/mlflow"
    finally:
        run("pg_ctl", "-D", data, "-w", "-m", "fast", "stop")
        shutil.rmtree(folder, ignore_errors=True)
