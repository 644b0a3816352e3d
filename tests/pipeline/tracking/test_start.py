"""Where runs are kept, and which places are refused."""

import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bar_model.errors import BadInput
from pipeline.tracking import recovery
from pipeline.tracking.start import TrackingConfig, start_run
from tests.harness.mlflow_runs import StageConfig, found, steps
from tests.harness.repository import REPOSITORY
from tests.harness.waiting import wait_for

pytest_plugins = ["tests.harness.fixtures_mlflow"]
pytestmark = pytest.mark.system


def test_mlflows_environment_variables_are_used(
    mlflow_here: TrackingConfig, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with start_run("outer", mlflow_here, StageConfig()) as outer:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", mlflow_here.experiment or "")
        monkeypatch.setenv("MLFLOW_RUN_ID", outer.run_id() or "")
        with start_run("inner", TrackingConfig(spool=mlflow_here.spool), StageConfig()):
            pass
        assert found(mlflow_here)["outer"].info.status == "RUNNING"
    assert found(mlflow_here)["inner"].data.tags["mlflow.parentRunId"] == found(mlflow_here)["outer"].info.run_id


@pytest.mark.parametrize(
    "uri",
    ["mlruns", "gopher://host", "sqlite:////proc/none/mlflow.db", "sqlite://", "databricks-uc", "uc", "file:///runs"],
)
def test_a_place_that_cannot_keep_runs_is_refused(mlflow_here: TrackingConfig, uri: str) -> None:
    with (
        pytest.raises(BadInput, match=r"tracking\.uri"),
        start_run("train", replace(mlflow_here, uri=uri), StageConfig()),
    ):
        raise AssertionError("began")


NAMES = {"": "is empty", "  ": "is empty", "x" * 501: "501 characters", "a\nb": "control characters", "a\0": "control"}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_mlflow_would_refuse_is_refused_before_work(
    mlflow_here: TrackingConfig, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with pytest.raises(BadInput, match=f"experiment.*{NAMES[name]}.*--experiment"):
        TrackingConfig(experiment=name)
    if name and "\0" not in name:  # Which no variable can hold.
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", name)
        with pytest.raises(BadInput, match=f"MLFLOW_EXPERIMENT_NAME.*{NAMES[name]}"):
            TrackingConfig(uri=mlflow_here.uri).check_before_work()
    TrackingConfig(experiment="x" * 500)


@pytest.mark.parametrize(
    "uri", ["databricks", "databricks://profile", "http://u:p@127.0.0.1:1", "postgresql+psycopg://h/db"]
)
def test_addresses_stay_as_they_are_written(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert TrackingConfig().address == uri


def test_a_server_that_is_away_is_no_reason_to_refuse(tmp_path: Path) -> None:
    TrackingConfig(uri="http://127.0.0.1:1", spool=str(tmp_path / "spool")).check_before_work()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("spool", ["/proc/none", "{folder}/file", "{folder}/file/below"])
def test_a_spool_that_can_not_be_written_is_refused(mlflow_here: TrackingConfig, tmp_path: Path, spool: str) -> None:
    (tmp_path / "file").write_text("")
    config = replace(mlflow_here, spool=spool.format(folder=tmp_path))
    with pytest.raises(BadInput, match=r"tracking\.spool .* can't be written"):
        config.check_before_work()


def test_what_is_no_database_is_refused_before_ray_starts(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("no database, but a text that is longer than the head of one" * 9)
    for uri in (f"sqlite:///{tmp_path}/mlflow.db", "postgresql://u:geheim@127.0.0.1:1/db"):
        with pytest.raises(BadInput, match=r"tracking\.uri") as caught:
            TrackingConfig(uri=uri).check_before_work()
        assert "geheim" not in str(caught.value)


def test_an_unwritable_working_folder_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir("/proc")
    with pytest.raises(BadInput, match=r"/proc/mlflow\.db.*can't be written.*MLFLOW_TRACKING_URI"):
        TrackingConfig().check_before_work()


def test_a_job_of_ray_job_submit_needs_an_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "runtime_resources" / "working_dir_files" / "package"
    folder.mkdir(parents=True)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(folder)
    TrackingConfig().check_before_work()
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    for uri in (None, "sqlite:///runs.db"):
        with pytest.raises(BadInput, match=r"tracking\.uri: .* temporary folder of Ray's"):
            TrackingConfig(uri=uri).check_before_work()
    TrackingConfig(uri=f"sqlite:///{tmp_path}/runs.db").check_before_work()


def test_a_relative_spool_is_the_same_folder_wherever_a_worker_is(
    mlflow_here: TrackingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is away, a worker in a folder of its own: all points arrive once the server is back."""
    monkeypatch.setattr(recovery, "SWEEP_INTERVAL_S", 0.2)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    config = replace(mlflow_here, spool="spool")
    with start_run("train", config, StageConfig()) as run:
        address = run.for_workers()
        assert address.folder == tmp_path / "spool" / address.key
        program = (
            "import pickle, sys; from pipeline.tracking.run import Run; "
            "run = Run(pickle.loads(bytes.fromhex(sys.argv[1]))); "
            "[run.metrics({'loss': 1.0}, step=step) for step in range(3)]"
        )
        worker = [sys.executable, "-c", program, pickle.dumps(address).hex()]
        subprocess.run(worker, cwd=elsewhere, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, check=True)
        run.metrics({"loss": 1.0}, step=3)
    with start_run("next", config, StageConfig()) as run:
        run.metrics({"loss": 1.0})
        wait_for(lambda: steps(config, found(config)["train"], "loss") == [0, 1, 2, 3])
    assert not list(elsewhere.iterdir())
    assert TrackingConfig().spool.startswith("~")  # Which is the home of each machine.
