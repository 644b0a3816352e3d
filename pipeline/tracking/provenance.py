"""What a run was made from: its configuration, and the code, command and versions that carried it out."""

import functools
import getpass
import hashlib
import importlib.metadata
import json
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

PACKAGES = ("bar", "mlflow", "numpy", "pyarrow", "ray", "torch", "torchvision", "transformers")


def plain(configuration: object) -> Any:
    """Dataclasses, mappings and sequences as JSON has them; anything else that JSON has not, as text."""
    if is_dataclass(configuration) and not isinstance(configuration, type):
        return {field.name: plain(getattr(configuration, field.name)) for field in fields(configuration)}
    if isinstance(configuration, Mapping):
        return {str(key): plain(value) for key, value in configuration.items()}
    if isinstance(configuration, list | tuple):
        return [plain(value) for value in configuration]
    if configuration is None or isinstance(configuration, bool | int | float | str):
        return configuration
    return str(configuration)


def digest(configuration: object) -> str:
    """16 hexadecimal digits of SHA-256 over all that a configuration says."""
    return hashlib.sha256(json.dumps(plain(configuration), sort_keys=True).encode()).hexdigest()[:16]


def parameters(configuration: object) -> dict[str, str]:
    """The leaves of a configuration by their dotted names, as text; a list is one leaf."""
    return dict(_leaves(plain(configuration), ()))


def _leaves(value: Any, names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, (*names, name))
    else:
        yield ".".join(names) or "value", value if isinstance(value, str) else json.dumps(value)


@functools.cache
def provenance() -> dict[str, str]:
    """Tags that say who ran what, where, with which versions; MLflow's names where it has them."""
    tags = {
        "mlflow.user": getpass.getuser(),
        "mlflow.source.name": sys.argv[0],
        "mlflow.source.type": "JOB" if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ else "LOCAL",
        "bar.command": shlex.join([Path(sys.executable).name, *sys.argv]),
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
    """The commit of this code, and whether files differ from it; nothing where it is no git checkout."""
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
