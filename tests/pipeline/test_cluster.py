"""Connecting to Ray: a cluster of our own, one that `ray start` runs, a submitted job."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bar_model.errors import BadInput
from pipeline import cluster
from pipeline.cluster import ClusterConfig

REPOSITORY = Path(__file__).parents[2]
JOB = "tests/harness/ray_job.py"


def environment_of(home: Path) -> dict[str, str]:
    """That of a user who has just this folder: no cluster, token or address of somebody else's."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    activated = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # A job's `python` is the first one.
    own = {"HOME": str(home), "RAY_TMPDIR": str(home), "PATH": activated, "RAY_USAGE_STATS_ENABLED": "0"}
    return {**others, **own}


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    folder = tempfile.mkdtemp(prefix="ray")  # Shorter than pytest's: Ray's sockets lie in it, and take 107 characters.
    yield Path(folder)
    shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Head:
    dashboard: str
    environment: dict[str, str]


@pytest.fixture(scope="module")
def head(home: Path) -> Iterator[Head]:
    """`ray start --head` that wants a token, as README.md tells to start it."""
    environment = {**environment_of(home), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    port, dashboard, agent = (str(free_port()) for _ in range(3))
    process = subprocess.Popen(
        [
            *("ray", "start", "--head", "--block", "--num-cpus=2", f"--object-store-memory={200 * 10**6}"),
            *("--port", port, "--dashboard-port", dashboard, "--dashboard-agent-listen-port", agent),
        ],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_for_port(int(dashboard))
    wait_until((home / "ray" / "ray_current_cluster").exists)  # By which others find it; written last.
    yield Head(f"http://127.0.0.1:{dashboard}", environment)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_for_port(port: int) -> None:
    for _ in range(600):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError(port)


def wait_until(is_so: Callable[[], bool]) -> None:
    for _ in range(600):
        if is_so():
            return
        time.sleep(0.1)
    raise TimeoutError


def output_of(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.ray
def test_a_cluster_of_our_own_starts_and_ends_and_leaves_nothing_behind(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)
    for name, value in environment_of(home).items():
        monkeypatch.setenv(name, value)
    with cluster.connect(ClusterConfig(num_cpus=1)):
        import ray

        def code() -> str:
            import pipeline

            return str(Path(pipeline.__file__).parent)

        assert ray.get(ray.remote(code).remote()) == str(REPOSITORY / "pipeline")
        with cluster.connect(ClusterConfig(num_cpus=7)):
            assert ray.cluster_resources()["CPU"] == 1
        assert ray.is_initialized()
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert not ray.is_initialized()
    out, err = capfd.readouterr()
    assert out == "Ray: started on this machine (1 CPUs, 0 GPUs)\n"
    assert err == ""
    assert not (home / ".ray").exists()


@pytest.mark.ray
def test_a_submitted_job_runs_the_code_that_it_brings(head: Head) -> None:
    submit = ["ray", "job", "submit", "--address", head.dashboard, "--working-dir", ".", "--"]
    said = output_of([*submit, "python", JOB], head.environment)
    assert "Ray: joined the cluster at " in said
    driver, worker = (line.split()[1] for line in said.splitlines() if line.startswith(("driver ", "worker ")))
    assert "working_dir_files" in driver
    assert worker == driver


@pytest.mark.ray
def test_a_driver_joins_a_running_cluster_and_brings_its_code(head: Head) -> None:
    said = output_of([sys.executable, JOB], {**head.environment, "PYTHONPATH": "."})
    assert "Ray: joined the cluster at " in said
    assert f"driver {REPOSITORY / 'pipeline'} 0\n" in said
    assert f"worker {REPOSITORY / 'pipeline'} 2\n" in said  # Where this folder is not, the two packages are.


@pytest.mark.ray
def test_a_cluster_of_another_ray_is_refused_in_one_line(head: Head) -> None:
    script = (
        "import ray; ray.__version__ = '1.0.0'\n"
        "from pipeline.command import job; from jobs.quickstart import QUICKSTART, main\n"
        "job.run(main, QUICKSTART, ['digits', '--out', sys.argv[1], '--cluster.address', 'auto'])"
    )
    environment = {**head.environment, "PYTHONPATH": "."}
    out = str(Path(head.environment["RAY_TMPDIR"]) / "out")
    command = [sys.executable, "-c", f"import sys; {script}", out]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 2, done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith("error: the Ray cluster at ")
    assert "can't be joined (Version mismatch: The cluster was started with: Ray: " in line
    assert "it has to run the same Ray and Python as this process" in line
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("address", "answer"),
    [
        ("127.0.0.1:9", "no Ray cluster answers"),
        ("http://127.0.0.1:8265", "dashboard"),
        ("nonsense", "no Ray cluster can be"),
    ],
)
def test_a_useless_address_is_refused(address: str, answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match=answer), cluster.connect(ClusterConfig(address=address)):
        raise AssertionError("connected")
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(BadInput, match=answer), cluster.connect(ClusterConfig()):
        raise AssertionError("connected")


@pytest.mark.parametrize(
    ("field", "value"),
    [("num_cpus", 0), ("num_gpus", -1), ("object_store_gb", 0.01), ("object_store_gb", float("nan"))],
)
def test_sizes_are_checked(field: str, value: float) -> None:
    with pytest.raises(BadInput, match=field):
        ClusterConfig(**{field: value})  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (ClusterConfig(address="local", object_store_gb=1e5), "this machine has .* of memory altogether"),
        (ClusterConfig(address="local", num_gpus=99), "num_gpus 99: this machine has"),
    ],
)
def test_what_this_machine_lacks_is_said_before_ray_starts(config: ClusterConfig, told: str) -> None:
    with pytest.raises(BadInput, match=told), cluster.connect(config):
        raise AssertionError("connected")


def test_a_temporary_folder_too_long_for_sockets_is_said_before_ray_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/" + "a" * 77)
    with pytest.raises(BadInput, match=r"RAY_TMPDIR /a+ has 78 bytes"), cluster.connect(ClusterConfig(address="local")):
        raise AssertionError("connected")
