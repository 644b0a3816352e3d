"""Connecting to Ray: the cluster that is there, or one of our own on this machine."""

import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from bar_model.errors import BadInput

GB = 10**9
REPOSITORY = Path(__file__).resolve().parent.parent
# Ray reads these when it is imported; the workers of a local cluster inherit them.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DATA_LOG_LEVEL": "WARNING",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",  # Ours are in stages.py.
    # How long OpenMP's threads spin for each other before they sleep. At the default of 300,000 they fall to a fraction
    # of their speed where something else wants a CPU; if they only sleep (OMP_WAIT_POLICY=PASSIVE), two are slower than
    # one. Measured on the digits' generator.
    "GOMP_SPINCOUNT": "1000",
    # How often a driver that waits for Ray looks for signals: by default once a second, of the three that it has.
    "RAY_get_check_signal_interval_milliseconds": "100",
}
AUTHENTICATION = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """Which Ray cluster does the work; the sizes are those of a local one."""

    address: str | None = None
    """host:6379, ray://host:10001 or `local` (else: RAY_ADDRESS, a cluster that `ray start` runs here, `local`)."""
    num_cpus: int | None = None
    """CPUs of a local cluster (else: all that this process may use)."""
    num_gpus: int | None = None
    """GPUs of a local cluster (else: all)."""
    object_store_gb: float | None = None
    """Shared memory of a local cluster (else: a twentieth of the memory, at most 4 GB)."""

    def __post_init__(self) -> None:
        if self.num_cpus is not None and self.num_cpus < 1:
            raise BadInput(f"cluster.num_cpus is {self.num_cpus}: Ray needs at least 1")
        if self.object_store_gb is not None and self.object_store_gb < 0.1:
            raise BadInput(f"cluster.object_store_gb is {self.object_store_gb}: Ray needs at least 0.1")


@contextmanager
def connect(config: ClusterConfig) -> Iterator[None]:
    """Ray for as long as the block lasts, after one line that says which; BadInput where the address is of no use.

    Joins the cluster of `ray job submit`, of `config.address`, of RAY_ADDRESS, or one that `ray start` runs on this
    machine; else starts one here and ends it afterwards. A process that is connected already stays as it is.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        yield
        return
    address = _address(config)
    with _sigterm_as_it_is():
        if address is None:
            _start_here(config)
        else:
            _join(address)
    logging.getLogger("ray").setLevel(logging.WARNING)
    resources = ray.cluster_resources()
    size = f"{resources.get('CPU', 0):g} CPUs, {resources.get('GPU', 0):g} GPUs"
    print(f"Ray: {f'joined the cluster at {address}' if address else 'started on this machine'} ({size})", flush=True)
    processes = _processes()
    try:
        yield
    finally:
        ray.shutdown()
        for process in processes:  # Ray has told them to end; their memory and ports are free once they have.
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10)


def is_fixed() -> bool:
    """Whether the cluster that this process is connected to is one of its own, which no autoscaler enlarges."""
    return bool(_processes())


def _address(config: ClusterConfig) -> str | None:
    """Whom to join, None for nobody."""
    named = config.address or os.environ.get("RAY_ADDRESS") or "auto"
    if named == "local":
        return None
    if named != "auto":
        _check(named)
        return named
    from ray._private.services import find_bootstrap_address  # What ray.init() asks, before it decides without us.

    started = find_bootstrap_address(None)
    if started is not None and _answers(started):  # A crashed cluster leaves its address behind.
        return started
    if config.address == "auto":
        raise BadInput("cluster.address is `auto`, but no cluster runs here: `ray start --head` starts one")
    return None


def _check(address: str) -> None:
    if urlsplit(address).scheme in ("http", "https"):
        raise BadInput(f"{address} is a dashboard's address: give the cluster's, host:6379, or use `ray job submit`")
    if not _answers(address):
        raise BadInput(f"no Ray cluster answers at {address}: correct RAY_ADDRESS or --cluster.address, or unset it")


def _answers(address: str) -> bool:
    host, _, port = address.split("://")[-1].rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, ValueError):
        return False
    return True


def _join(address: str) -> None:
    """Connects; a driver that no `ray job submit` has sent brings this code to workers on other machines."""
    import ray
    from ray.exceptions import AuthenticationError

    modules = [str(REPOSITORY / "pipeline"), str(REPOSITORY / "bar_model")]
    submitted = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
    try:
        ray.init(
            address=address, runtime_env=None if submitted else {"py_modules": modules}, logging_level=logging.ERROR
        )
    except (AuthenticationError, ConnectionError) as error:
        token = "if it wants a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN as on its head node"
        raise BadInput(
            f"the Ray cluster at {address} can't be joined ({str(error).splitlines()[0]}); {token}"
        ) from error


def _start_here(config: ClusterConfig) -> None:
    """A cluster without dashboard that dies with this process.

    Ray would write a token for it to ~/.ray/auth_token, which every later `ray start` then demands of `ray job submit`.
    So it gets one of its own, that only this process and its children know.
    """
    import ray

    if not any(name in os.environ for name in AUTHENTICATION):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    # By Ray's default of 15 a worker gets a thirtieth of a CPU that anything else wants: a browser stops a training.
    os.environ.setdefault("RAY_worker_niceness", "0")
    ray.init(
        address="local",
        num_cpus=config.num_cpus or len(os.sched_getaffinity(0)),
        num_gpus=config.num_gpus,
        object_store_memory=_object_store_bytes(config),
        include_dashboard=False,
        logging_level=logging.ERROR,
    )


@contextmanager
def _sigterm_as_it_is() -> Iterator[None]:
    """Ray's own handler prints a stack and aborts, where a tracked run is to be closed first."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


def _processes() -> list[subprocess.Popen]:
    """Those of the cluster that this process has started."""
    from ray._private import worker

    node: Any = worker._global_node
    return [info.process for infos in node.all_processes.values() for info in infos] if node is not None else []


def _object_store_bytes(config: ClusterConfig) -> int:
    if config.object_store_gb is not None:
        return int(config.object_store_gb * GB)
    memory = min(psutil.virtual_memory().total // 20, 4 * GB)
    shared = Path("/dev/shm")  # Often small in a container; Ray would fall back to the disk.
    return max(GB // 10, min(memory, shutil.disk_usage(shared).free * 9 // 10 if shared.exists() else memory))
