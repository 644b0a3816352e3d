"""A run begins late and is always closed, whatever ends its driver."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bar_model.errors import BadInput
from pipeline.tracking.lifecycle import DRIVER_DIED
from pipeline.tracking.start import TrackingConfig, start_run
from tests.harness.mlflow_runs import StageConfig, found, steps
from tests.harness.repository import REPOSITORY
from tests.harness.waiting import wait_for

pytest_plugins = ["tests.harness.fixtures_mlflow"]
pytestmark = pytest.mark.system


def work_until(error: BaseException, config: TrackingConfig) -> None:
    with start_run("train", config, StageConfig()) as run:
        run.metrics({"loss": 1.0})
        raise error


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError("no\nmore"), "FAILED"), (KeyboardInterrupt(), "KILLED"), (SystemExit(15), "KILLED")],
)
def test_a_run_ends_as_its_driver_does(mlflow_here: TrackingConfig, error: BaseException, status: str) -> None:
    with pytest.raises(type(error)):
        work_until(error, mlflow_here)
    assert found(mlflow_here)["train"].info.status == status
    assert type(error).__name__ in found(mlflow_here)["train"].data.tags["bar.reason"]


def test_a_job_that_refuses_its_input_at_once_leaves_no_trace(mlflow_here: TrackingConfig, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(BadInput), start_run("train", mlflow_here, StageConfig(), out=str(out)):
        raise BadInput("no codes there: give --codes")
    assert not found(mlflow_here)
    assert not out.exists()
    with pytest.raises(BadInput):
        work_until(BadInput("the codes end here: tokenize again"), mlflow_here)
    assert found(mlflow_here)["train"].info.status == "FAILED"


DRIVER = """
import sys, time
from pipeline.tracking.start import TrackingConfig, start_run
name, uri, experiment, spool = sys.argv[1:]
config = TrackingConfig(uri=uri, experiment=experiment, spool=spool)
with start_run(name, config, {"steps": 1}) as run:
    run.metrics({"loss": 1.0}, step=1)
    print("began", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def drivers(mlflow_here: TrackingConfig) -> Iterator[list[subprocess.Popen[str]]]:
    """Two processes, each with a run that has logged something."""
    place = [mlflow_here.uri or "", mlflow_here.experiment or "", mlflow_here.spool]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", DRIVER, name, *place],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("first", "second")
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "began\n"
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def test_sigterm_and_sigkill_leave_a_run_killed(
    mlflow_here: TrackingConfig, drivers: list[subprocess.Popen[str]]
) -> None:
    first, second = drivers
    first.terminate()
    assert first.wait(30) == 143
    assert found(mlflow_here)["first"].info.status == "KILLED"
    second.kill()
    second.wait(30)
    assert found(mlflow_here)["second"].info.status == "RUNNING"
    with start_run("next", mlflow_here, StageConfig()) as run:
        run.metrics({"loss": 1.0})
        wait_for(lambda: found(mlflow_here)["second"].info.status == "KILLED")
    assert found(mlflow_here)["second"].data.tags["bar.reason"] == DRIVER_DIED
    assert steps(mlflow_here, found(mlflow_here)["second"], "loss") == [1]
