"""Ray Train's part of a training: its workers' memory and room, and which checkpoints are removed."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.storage import Folder
from pipeline.training import ray_train
from pipeline.training.checkpoints.filesystem import remove_folder
from pipeline.training.checkpoints.listing import FOLDER
from pipeline.training.config import Cadence
from pipeline.training.ray_train import KEEP_MEMORY
from tests.harness.checkpoint_folders import write_checkpoints

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


def test_what_can_not_be_removed_does_not_end_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Folder(str(tmp_path))
    names = write_checkpoints(out, 10, 20, 30, 40)
    keeping = ray_train._retention(out, [], Cadence(keep_checkpoints=1, keep_best=0))

    def report(name: str) -> None:
        keeping.after_report(None, [{}], SimpleNamespace(path=f"anywhere/{name}"))

    def refuse(out: Folder, name: str) -> None:
        raise PermissionError("DeleteObject")

    with monkeypatch.context() as patched:
        patched.setattr(ray_train, "remove", refuse)
        for name in names[:3]:
            report(name)
    assert f"{names[0]} is no longer needed, but can't be removed (DeleteObject)" in capsys.readouterr().out
    assert len((out / FOLDER).folders()) == 4
    remove_folder(out / FOLDER / names[1])
    report(names[3])
    assert (out / FOLDER).folders() == (names[3],)
