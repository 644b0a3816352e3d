"""Ray: joining the cluster that is there, or starting one on this machine, and what it has to work with."""

import logging
import os
import secrets
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from bar_model.errors import BadInput, WorkFailed, one_line
from bar_model.ranges import Range, check_ranges
from pipeline.machine import check_gpus, check_socket_folder, num_cpus, object_store_bytes, processor
from pipeline.ray_address import answers, check_address
from pipeline.ray_internals import cluster_processes, running_cluster

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
        BadInput: no cluster can be joined at the address, or this machine lacks what its own would take.
        WorkFailed: Ray can't be started here.
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
    return f"{resources.get('CPU', 0):g} CPUs ({processor()})"


def is_fixed() -> bool:
    """Whether the cluster was started by this process, so that no autoscaler enlarges it."""
    return bool(cluster_processes())


def _address(config: ClusterConfig) -> str | None:
    """The address of the cluster to join; None to start one."""
    named = config.address or os.environ.get("RAY_ADDRESS") or "auto"
    if named == "local":
        return None
    if named != "auto":
        check_address(named)
        return named
    started = running_cluster()
    if started is not None and answers(started):  # A crashed cluster leaves its address behind.
        return started
    if config.address == "auto":
        raise BadInput("cluster.address is `auto`, but no cluster runs here: `ray start --head` starts one")
    return None


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
    except Exception as error:  # Ray has no class for clusters that can't be joined, nor has its client.
        ray.shutdown()
        remedy = "it has to run the same Ray and Python as this process"
        if isinstance(error, AuthenticationError | ConnectionError):
            remedy = "if it needs a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN as on its head node"
        raise BadInput(f"the Ray cluster at {address} can't be joined ({one_line(error)[:300]}); {remedy}") from error


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
    check_socket_folder()
    check_gpus(config.num_gpus)
    memory = object_store_bytes(config.object_store_gb)
    try:
        ray.init(
            address="local",
            num_cpus=config.num_cpus or num_cpus(),
            num_gpus=config.num_gpus,
            object_store_memory=memory,
            include_dashboard=False,
            logging_level=logging.ERROR,
        )
    except Exception as error:  # Whatever fails there, no work has begun, and the reason is one of this machine's.
        ray.shutdown()
        raise WorkFailed(
            f"Ray can't be started on this machine ({one_line(error)[:300]}): its logs lie in ray/session_latest/logs "
            "below RAY_TMPDIR, TMPDIR or the system's temporary folder"
        ) from error


@contextmanager
def _sigterm_as_it_is() -> Iterator[None]:
    """Keeps the handler of SIGTERM: Ray's own prints a stack and aborts, before a tracked run is closed."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)
