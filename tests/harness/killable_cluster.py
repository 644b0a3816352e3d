"""A Ray cluster on this machine whose parts tests kill, and the kills."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.harness.repository import REPOSITORY

RAY_ENVIRONMENT = {
    # Ray notices a killed raylet within two seconds.
    "RAY_health_check_initial_delay_ms": "500",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_failure_threshold": "4",
    "RAY_DEDUP_LOGS": "0",
    "RAY_worker_niceness": "0",
    "RAY_AUTH_MODE": "disabled",
}


@dataclass
class KillableCluster:
    """A head that holds the driver, and raylets that do the work."""

    cluster: Any  # ray.cluster_utils.Cluster
    address: str
    raylet: dict[str, Any]
    raylets: list

    @classmethod
    @contextmanager
    def started(cls, *, num_raylets: int, **raylet: Any) -> Iterator["KillableCluster"]:
        """A cluster with so many raylets; `raylet` holds the options of each, as `Cluster.add_node` takes them."""
        from ray.cluster_utils import Cluster

        cluster = Cluster(head_node_args={"num_cpus": 0, "object_store_memory": 10**8}, initialize_head=True)
        try:
            raylets = [cluster.add_node(**raylet) for _ in range(num_raylets)]
            yield cls(cluster, str(cluster.address), raylet, raylets)
        finally:
            cluster.shutdown()

    def add_raylet(self) -> None:
        """Starts one more raylet."""
        self.raylets.append(self.cluster.add_node(**self.raylet))

    def kill_raylet(self, chance: random.Random) -> None:
        """Kills a raylet with all of its workers and objects."""
        node = self.raylets.pop(chance.randrange(len(self.raylets)))
        self.cluster.remove_node(node, allow_graceful=False)

    def kill_process(self, name: str, chance: random.Random) -> bool:
        """Kills one of Ray's processes with this name; False where there is none at the moment."""
        processes = [process.process.pid for node in self.raylets for process in node.all_processes["raylet"]]
        children = [child for pid in processes for child in psutil.Process(pid).children()]
        named = [child for child in children if name in _command(child)]
        if named:
            chance.choice(named).kill()
        return bool(named)


@dataclass(frozen=True, kw_only=True)
class Kills:
    """SIGKILL to the driver of a run, to its workers and to raylets, in any order, at seeded moments."""

    num: int = 3
    """Number of kills of each kind."""
    worker: str
    """Name of a worker in the tables."""
    process: str
    """Text in the command line of a worker."""
    moments: range
    """Values of the run's progress; at some of them a kill is due."""
    when: str
    """Text of a line about the progress: "{} shards done"."""
    driver_may_fail: bool = False
    """Whether a driver that ended with an error is started again, as one that was killed is."""
    deadline_s: float = 600

    @property
    def kinds(self) -> tuple[str, str, str]:
        """The names of what is killed."""
        return "driver", self.worker, "raylet"

    def disturb(
        self,
        cluster: KillableCluster,
        command: Sequence[str],
        log: Path,
        progress: Callable[[], int],
        chance: random.Random,
    ) -> list[tuple[str, int]]:
        """Runs the driver to its end, and returns what was killed and the progress at that moment.

        The driver's output is appended to the log. A kill waits until the run has made progress since the last one.
        """
        planned = [kind for kind in self.kinds for _ in range(self.num)]
        chance.shuffle(planned)
        moments = sorted(chance.sample(self.moments, len(planned)))
        made: list[tuple[str, int]] = []
        driver = _start(command, log)
        deadline = time.monotonic() + self.deadline_s
        while (status := driver.poll()) != 0 or planned:
            if status == 0 or (status is not None and not self.driver_may_fail):
                raise RuntimeError(f"the driver ended with {status}: {made}")
            if status is not None:
                driver = _start(command, log)
            if time.monotonic() > deadline:
                _kill_group(driver)
                raise TimeoutError(f"not done after {self.deadline_s} s: {made}")
            done = progress()
            if not planned or done < moments[len(made)] or (made and done <= made[-1][1]):
                time.sleep(0.05)
                continue
            time.sleep(chance.random() / 2)  # At any moment between two steps of the progress.
            kind = planned[0]
            if kind == "driver":
                _kill_group(driver)
                driver = _start(command, log)
            elif kind == "raylet":
                cluster.kill_raylet(chance)
                cluster.add_raylet()
            elif not cluster.kill_process(self.process, chance):
                continue
            made.append((planned.pop(0), done))
            print(f"{self.when.format(done)}: {kind} killed", file=sys.stderr, flush=True)
        return made


def _start(command: Sequence[str], log: Path) -> subprocess.Popen:
    with log.open("ab") as output:
        return subprocess.Popen(command, cwd=REPOSITORY, stdout=output, stderr=output, start_new_session=True)


def _kill_group(process: subprocess.Popen) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # The process has ended.
        return ""


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Sets these variables while the block lasts."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
