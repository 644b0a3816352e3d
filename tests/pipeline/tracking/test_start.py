"""Where runs are kept, and which places are refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from bar_model.errors import BadInput
from pipeline.tracking.start import TrackingConfig, start_run
from tests.harness.mlflow_runs import StageConfig, found

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


@pytest.mark.parametrize("uri", ["mlruns", "gopher://host", "sqlite:////proc/none/mlflow.db"])
def test_a_place_that_cannot_keep_runs_is_refused(mlflow_here: TrackingConfig, uri: str) -> None:
    with (
        pytest.raises(BadInput, match=r"tracking\.uri"),
        start_run("train", replace(mlflow_here, uri=uri), StageConfig()),
    ):
        raise AssertionError("began")
