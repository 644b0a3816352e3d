"""A Ray cluster on this machine, whose parts are there to be killed."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil

RAY_ENVIRONMENT = {
    # A raylet that was killed is found out within two seconds.
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
        """`raylet`: what each has, as `Cluster.add_node` takes it."""
        from ray.cluster_utils import Cluster

        cluster = Cluster(head_node_args={"num_cpus": 0, "object_store_memory": 10**8}, initialize_head=True)
        try:
            raylets = [cluster.add_node(**raylet) for _ in range(num_raylets)]
            yield cls(cluster, str(cluster.address), raylet, raylets)
        finally:
            cluster.shutdown()

    def add_raylet(self) -> None:
        self.raylets.append(self.cluster.add_node(**self.raylet))

    def kill_raylet(self, chance: random.Random) -> None:
        """With all its workers and objects."""
        node = self.raylets.pop(chance.randrange(len(self.raylets)))
        self.cluster.remove_node(node, allow_graceful=False)

    def kill_process(self, name: str, chance: random.Random) -> bool:
        """One of Ray's that bears the name; False where none is there at the moment."""
        processes = [process.process.pid for node in self.raylets for process in node.all_processes["raylet"]]
        children = [child for pid in processes for child in psutil.Process(pid).children()]
        named = [child for child in children if name in _command(child)]
        if named:
            chance.choice(named).kill()
        return bool(named)


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # It has ended meanwhile.
        return ""


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """With these as well, and afterwards as it was."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
