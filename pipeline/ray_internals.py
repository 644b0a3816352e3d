"""The one place that uses private interfaces of Ray's core; those of Ray Data and Ray Train stand in their rooms.

`tests/pipeline/test_private_interfaces.py` fails where a new Ray has changed them.
"""

import subprocess
from typing import Any


def running_cluster() -> str | None:
    """The address of a cluster that `ray start` runs on this machine; None where there is none.

    The public way, `ray.init()` without an address, joins such a cluster too. But it hangs for minutes where a crashed
    one has left its address behind, and gives no address beforehand.
    """
    from ray._private.services import find_bootstrap_address

    return find_bootstrap_address(None)


def cluster_processes() -> list[subprocess.Popen]:
    """The processes of the cluster that this process has started; empty where it has joined another's.

    Ray has no public way to wait for their end: `ray.shutdown()` only asks them to.
    """
    from ray._private import worker

    node: Any = worker._global_node
    return [info.process for infos in node.all_processes.values() for info in infos] if node is not None else []
