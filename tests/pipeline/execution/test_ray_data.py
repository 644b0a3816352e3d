"""Units on a cluster: any number of workers, reading a little ahead, room for both."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from bar_model.errors import BadInput
from pipeline.command.job import bad_input
from pipeline.execution.manifest import Manifest
from pipeline.execution.quarantine import read_quarantine
from pipeline.execution.ray_data import Workers, execute
from pipeline.execution.unit import Row, Unit
from pipeline.storage import Folder
from tests.harness.doubling import NUMBERS, Count, Double, by_hand, contents, count, plan
from tests.harness.repository import REPOSITORY

pytest_plugins = ["tests.harness.fixtures_s3", "tests.harness.fixtures_ray"]


ONE_CPU = """
import sys
from pipeline import cluster
from pipeline.cluster import ClusterConfig
from pipeline.execution.ray_data import Workers, choose_workers
from pipeline.storage import Folder
from tests.harness.doubling import NUMBERS, Count, count, plan

with cluster.connect(ClusterConfig(address="local", num_cpus=1, object_store_gb=0.2)):
    device, workers = choose_workers("auto", None)
    print(device, workers.num, count(Folder(sys.argv[1]), Count().work(), plan(NUMBERS), workers=workers).rows)
    count(Folder(sys.argv[1] + "-2"), Count().work(), plan(NUMBERS), workers=Workers(num=2, cpus=0.5))
"""


@pytest.mark.ray
def test_a_machine_with_one_cpu_reads_and_works(tmp_path: Path) -> None:
    """In a process of its own: Ray keeps the token of the first cluster that a process starts."""
    command = [sys.executable, "-c", ONE_CPU, str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert "cpu 1 12\n" in done.stdout, done.stderr
    assert "cluster's 1 CPUs (of which 0.5 must remain for reading)" in done.stderr


@pytest.mark.ray
def test_any_number_of_workers_gives_the_same_bytes(folder: Folder, tmp_path: Path, ray_here: str) -> None:
    manifest = count(folder, Count().work(), plan(NUMBERS))
    assert manifest.rows == 12
    assert [file.rows for file in manifest.files] == [3, 1, 0, 3, 2, 3]
    assert json.loads(folder.read(manifest.files[3].name))["numbers"] == [10, 12, 14]
    assert Manifest.read(folder) == manifest

    others = Folder(str(tmp_path / "others"))
    count(others, Count().work(), plan(NUMBERS), workers=Workers(num=2))
    assert contents(others) == contents(folder)


class Slow(Double):
    """Waits in its first unit for as long as anything is read."""

    def __init__(self, log: str) -> None:
        self.log, self.at_rest = log, False

    def __call__(self, row: Row) -> Row:
        before = -1
        while not self.at_rest:
            num = len(Path(self.log).read_text().split())
            self.at_rest, before = num == before, num
            time.sleep(1)
        return super().__call__(row) | {"bad": json.dumps([(str(before), "", "")] if before > 0 else [])}


@pytest.mark.ray
def test_reading_does_not_run_far_ahead(
    folder: Folder, tmp_path: Path, ray_here: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.execution.ray_data_internals.MAX_WAITING", 4)
    monkeypatch.setattr("pipeline.execution.ray_data.PLAN_BLOCKS", 20)
    log = str(tmp_path / "log")
    work = replace(Count(log).work(), build=partial(Slow, log))
    manifest = count(folder, work, plan([[number] for number in range(60)]), max_bad=0.5)
    assert (manifest.rows, len(manifest.files)) == (60, 60)
    ((read,),) = ([int(item.key) for item in items] for items in read_quarantine(folder, manifest).values())
    assert read < 40


class SlowlyRead(Count):
    """Reading takes longest; what is packed says how many units had been read by then."""

    def read(self, unit: Unit) -> Row:
        time.sleep(0.2)
        return super().read(unit)

    def pack(self, row: Row) -> bytes:
        assert self.log is not None
        num_read = len(Path(self.log).read_text().split())
        with Path(f"{self.log}-packed").open("a") as file:
            file.write(f"{num_read}\n")
        return super().pack(row)


@pytest.mark.ray
def test_units_are_written_while_others_are_read_though_all_cpus_are_taken(
    folder: Folder, tmp_path: Path, ray_here: str
) -> None:
    log = tmp_path / "log"
    work = SlowlyRead(str(log)).work()
    count(folder, work, plan([[number] for number in range(30)]), workers=Workers(num=2))
    when = [int(num) for num in Path(f"{log}-packed").read_text().split()]
    assert len(when) == 30
    assert min(when) < 15


@pytest.mark.ray
def test_a_step_that_fails_names_its_own_error(folder: Folder, ray_here: str) -> None:
    def refuse(unit: Unit) -> Row:
        raise BadInput(f"unit {unit.index}: no such thing")

    with pytest.raises(Exception, match="no such thing") as caught:
        count(folder, replace(Count().work(), read=refuse), plan(NUMBERS))
    assert str(bad_input(caught.value)).endswith("no such thing")
    assert not folder.list("manifest-*")


@pytest.mark.ray
def test_workers_must_leave_room_for_reading(folder: Folder, ray_here: str) -> None:
    with pytest.raises(BadInput, match="choose fewer workers"):
        count(folder, Count().work(), plan(NUMBERS), workers=Workers(num=3))


@pytest.mark.ray
def test_units_finished_since_they_were_planned_are_not_read_again(
    folder: Folder, tmp_path: Path, ray_here: str
) -> None:
    """By another run, or by this one, if Ray repeats what was lost with a machine."""
    log = tmp_path / "log"
    work, units = Count(str(log)).work(), plan(NUMBERS)
    by_hand(folder, work, units[:4])
    log.unlink()
    receipts = {unit.index: receipt for unit, receipt in execute(folder, work, units, Workers(num=1))}
    assert sorted(log.read_text().split()) == ["4", "5"]
    assert [receipts[unit.index].file.name for unit in units] == [work.file_name(unit) for unit in units]
    assert [receipts[unit.index].file.rows for unit in units] == [3, 1, 0, 3, 2, 3]
