"""Where a run comes from: its user, command, host, package versions and commit."""

import functools
import getpass
import importlib.metadata
import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path

from pipeline.redaction import redacted

PACKAGES = ("bar", "mlflow", "numpy", "pyarrow", "ray", "torch", "torchvision", "transformers")


@functools.cache
def provenance() -> dict[str, str]:
    """Tags of the user, command, host, package versions and commit, under MLflow's names if it has them."""
    tags = {
        "mlflow.user": getpass.getuser(),
        "mlflow.source.name": redacted(sys.argv[0]),
        "mlflow.source.type": "JOB" if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ else "LOCAL",
        "bar.command": shlex.join([Path(sys.executable).name, *map(redacted, sys.argv)]),
        "bar.host": socket.gethostname(),
        "bar.version.python": sys.version.split()[0],
    }
    for package in PACKAGES:
        try:
            tags[f"bar.version.{package}"] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return tags | _commit()


def _commit() -> dict[str, str]:
    """The commit of this code, and whether files differ from it. Nothing if this is no git checkout."""
    try:
        head = _git("rev-parse", "HEAD")
        return {"mlflow.source.git.commit": head, "mlflow.source.git.dirty": str(bool(_git("status", "--porcelain")))}
    except (OSError, subprocess.SubprocessError):
        return {}


def _git(*arguments: str) -> str:
    folder = Path(__file__).parent
    return subprocess.run(
        ["git", *arguments], cwd=folder, check=True, capture_output=True, text=True, timeout=10
    ).stdout.strip()
