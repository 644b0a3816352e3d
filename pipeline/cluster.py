"""Ray: joining the cluster that is there, or starting one on this machine, and what it has to work with."""

import logging
import os
import platform
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
from typing import Annotated, Any
from urllib.parse import urlsplit

import psutil

from bar_model.errors import BadInput
from bar_model.ranges import Range, check_ranges
from pipeline.ray_internals import cluster_processes, running_cluster

GB = 10**9
REPOSITORY = Path(__file__).resolve().parent.parent
# Ray reads these when it is imported; the workers of a local cluster inherit them.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DATA_LOG_LEVEL": "WARNING",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",  # Ours is pipeline/execution/progress.py.
    # How long OpenMP's threads spin for each other before they sleep. At the default of 300,000 they fall to a fraction
    # of their speed where another process uses a CPU; if they only sleep (OMP_WAIT_POLICY=PASSIVE), two are slower than
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
    num_cpus: Annotated[int, Range(least=1, most=100_000)] | None = None
    """CPUs of a local cluster (else: all that this process may use)."""
    num_gpus: Annotated[int, Range(least=0, most=10_000)] | None = None
    """GPUs of a local cluster (else: all)."""
    object_store_gb: Annotated[float, Range(least=0.1)] | None = None
    """Shared memory of a local cluster (else: a twentieth of the memory, at most 4 GB)."""

    def __post_init__(self) -> None:
        check_ranges(self)


@contextmanager
def connect(config: ClusterConfig) -> Iterator[None]:
    """Keeps this process connected to Ray for as long as the block lasts, after one line that names the cluster.

    Joins the cluster of `ray job submit`, of `config.address`, of RAY_ADDRESS, or one that `ray start` runs on this
    machine; else starts one here and ends it afterwards. A process that is connected already stays as it is.

    Raises:
        BadInput: no cluster can be joined at the address.
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
    processes = cluster_processes()
    try:
        yield
    finally:
        ray.shutdown()
        for process in processes:  # Ray has asked them to end; their memory and ports are free once they have.
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10)


HARDWARE_TAG = "hardware"
"""The tag of a run that names what did the work: figures a second mean nothing without it."""


def hardware(num_gpus: float) -> str:
    """What does the work, in words: "8 × H200" for so many GPUs, "2 CPUs (AMD EPYC)" for all CPUs without any.

    Called inside a Ray session.
    """
    import ray

    resources: dict[str, Any] = ray.cluster_resources()
    if num_gpus:
        kinds = sorted(name.partition(":")[2] for name in resources if name.startswith("accelerator_type:"))
        return f"{num_gpus:g} × {' or '.join(kinds) or 'GPU'}"
    return f"{resources.get('CPU', 0):g} CPUs ({_processor()})"


def is_fixed() -> bool:
    """Whether the cluster was started by this process, so that no autoscaler enlarges it."""
    return bool(cluster_processes())


def _address(config: ClusterConfig) -> str | None:
    """The address of the cluster to join; None to start one."""
    named = config.address or os.environ.get("RAY_ADDRESS") or "auto"
    if named == "local":
        return None
    if named != "auto":
        _check(named)
        return named
    started = running_cluster()
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
    """Connects to a running cluster; a driver that `ray job submit` has not sent takes this code to its workers."""
    import ray
    from ray.exceptions import AuthenticationError

    modules = [str(REPOSITORY / "pipeline"), str(REPOSITORY / "bar_model")]
    submitted = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
    try:
        ray.init(
            address=address, runtime_env=None if submitted else {"py_modules": modules}, logging_level=logging.ERROR
        )
    except (AuthenticationError, ConnectionError) as error:
        token = "if it needs a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN as on its head node"
        raise BadInput(
            f"the Ray cluster at {address} can't be joined ({str(error).splitlines()[0]}); {token}"
        ) from error


def _start_here(config: ClusterConfig) -> None:
    """Starts a cluster without dashboard that ends with this process.

    Ray would write a token for it to ~/.ray/auth_token, which every later `ray start` then demands of `ray job submit`.
    So the cluster gets a token that only this process and its children know.
    """
    import ray

    if not any(name in os.environ for name in AUTHENTICATION):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    # By Ray's default niceness of 15 a worker gets a thirtieth of a CPU that anything else uses: a browser would stop a
    # training.
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
    """Keeps the handler of SIGTERM: Ray's own prints a stack and aborts, before a tracked run is closed."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


def _object_store_bytes(config: ClusterConfig) -> int:
    if config.object_store_gb is not None:
        return int(config.object_store_gb * GB)
    memory = min(psutil.virtual_memory().total // 20, 4 * GB)
    shared = Path("/dev/shm")  # Often small in a container; Ray would fall back to the disk.
    return max(GB // 10, min(memory, shutil.disk_usage(shared).free * 9 // 10 if shared.exists() else memory))


def _processor() -> str:
    """This machine's processor, as Linux calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
