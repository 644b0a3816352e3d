"""Ray Train's part of a training: its workers' memory and room, and which checkpoints are removed."""

import os
import subprocess
import sys

import pytest

from pipeline.training.ray_train import KEEP_MEMORY

FREEING = """
import threading
import numpy, psutil
def resident(): return psutil.Process().memory_info().rss
before = resident()
def step():
    for _ in range(3):
        tensors = [numpy.ones(2**20 * mib, numpy.uint8) for mib in (20, 44)]
thread = threading.Thread(target=step)
thread.start()
thread.join()
print(resident() - before)
"""


@pytest.mark.system
def test_workers_on_cpus_keep_the_memory_that_a_step_has_freed() -> None:
    """What a thread frees as well, for Ray Train's workers compute in one."""

    def kept(environment: dict[str, str]) -> int:
        command = [sys.executable, "-c", FREEING]
        found = subprocess.run(command, env={**os.environ, **environment}, check=True, capture_output=True, text=True)
        return int(found.stdout)

    assert kept(KEEP_MEMORY) > 100 * 2**20
    assert kept({}) < 40 * 2**20
