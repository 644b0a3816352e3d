"""What is measured of the machine during a run."""

import json
import time
from pathlib import Path

import pytest

from pipeline.tracking.start import TrackingConfig, start_run
from tests.harness.mlflow_runs import StageConfig, found, steps

pytest_plugins = ["tests.harness.fixtures_mlflow"]
pytestmark = pytest.mark.system


def test_the_machine_is_measured_under_the_names_that_mlflow_shows(
    mlflow_here: TrackingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.system_metrics.metrics import cpu_monitor, disk_monitor, network_monitor

    monkeypatch.setattr("pipeline.tracking.system_metrics.INTERVAL_S", 0.1)
    with (
        start_run("train", mlflow_here, StageConfig(), out=str(tmp_path)) as run,
        run.child("stage", StageConfig()),
    ):
        run.metrics({"loss": 1.0})
        time.sleep(2.5)
    names = {name for name in found(mlflow_here)["train"].data.metrics if name.startswith("system/")}
    assert len(names) == 8
    monitors = (cpu_monitor.CPUMonitor, disk_monitor.DiskMonitor, network_monitor.NetworkMonitor)
    for monitor in (make() for make in monitors):
        monitor.collect_metrics()
        names -= {f"system/{name}" for name in monitor.aggregate_metrics()}
    assert not names
    memory = "system/system_memory_usage_percentage"
    assert 2 <= len(steps(mlflow_here, found(mlflow_here)["train"], memory)) <= 4
    assert 0 < found(mlflow_here)["train"].data.metrics[memory] < 100
    assert not found(mlflow_here)["stage"].data.metrics
    assert set(json.loads((tmp_path / "tracking.json").read_bytes())["metrics"]) == {"loss"}
