"""A run begins late and is always closed, whatever ends its driver."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from bar_model.errors import BadInput
from pipeline.storage import Folder
from pipeline.tracking.lifecycle import DRIVER_DIED
from pipeline.tracking.lineage import RunSummary
from pipeline.tracking.start import TrackingConfig, start_run
from tests.harness.mlflow_runs import StageConfig, found, steps
from tests.harness.repository import REPOSITORY
from tests.harness.waiting import wait_for

pytest_plugins = ["tests.harness.fixtures_mlflow"]
pytestmark = pytest.mark.system


def work_until(error: BaseException, config: TrackingConfig, out: str | None = None, source: str = "images") -> None:
    with start_run("train", config, {"source": source}, out=out) as run:
        run.metrics({"loss": 1.0})
        run.tag("list", source)
        run.input("images", source, "f")
        run.output("codes", source, "f")
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


def test_a_run_that_is_finished_later_forgets_why_it_had_ended(mlflow_here: TrackingConfig, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        work_until(KeyboardInterrupt(), mlflow_here, out)
    assert "KeyboardInterrupt" in found(mlflow_here)["train"].data.tags["bar.reason"]
    with start_run("train", mlflow_here, StageConfig(), out=out) as run:
        run.metrics({"loss": 1.0}, step=1)
    train = found(mlflow_here)["train"]
    assert (train.info.status, train.data.tags.get("bar.reason")) == ("FINISHED", None)


@pytest.mark.parametrize("text", ["", "[]", '{"run": "k'])
def test_a_damaged_summary_begins_a_new_run(
    mlflow_here: TrackingConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "tracking.json").write_text(text)
    with start_run("train", mlflow_here, StageConfig(), out=str(tmp_path / "out")) as run:
        run.metrics({"loss": 1.0})
    assert ["damaged" in record.getMessage() for record in caplog.records] == [True]
    train = found(mlflow_here)["train"]
    assert RunSummary.read(Folder(str(tmp_path / "out"))).run == train.data.tags["bar.key"]


def test_no_secret_is_kept_of_a_configuration(mlflow_here: TrackingConfig, tmp_path: Path) -> None:
    url = "https://user:geheim@host/list.csv?sig=geheim"
    with pytest.raises(OSError, match="geheim"):
        work_until(OSError(f"can't reach {url}"), mlflow_here, source=url)
    train = found(mlflow_here)["train"]
    assert train.data.params["source"] == "https://user:***@host/list.csv?sig=***"
    config = MlflowClient(mlflow_here.uri).download_artifacts(train.info.run_id, "config.json", str(tmp_path))
    shown = f"{Path(config).read_text()} {train.data.to_dictionary()} {train.inputs and train.inputs.to_dictionary()}"
    assert "geheim" not in shown


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
from pipeline.tracking.lineage import RunSummary
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
