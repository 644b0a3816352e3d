"""Logging while the server is away."""

import time
from dataclasses import replace

import numpy as np
import pytest

from pipeline.tracking import recovery
from pipeline.tracking.run import Run
from pipeline.tracking.start import TrackingConfig, start_run
from tests.harness.mlflow_runs import StageConfig, found, steps
from tests.harness.mlflow_server import Server
from tests.harness.waiting import wait_for

pytest_plugins = ["tests.harness.fixtures_mlflow"]
pytestmark = pytest.mark.system


def test_an_unreachable_server_costs_no_point_and_no_time(
    mlflow_here: TrackingConfig, server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(recovery, "SWEEP_INTERVAL_S", 1.0)
    config = replace(mlflow_here, uri=server.uri)
    seconds: list[float] = []

    def log(run: Run, first: int) -> None:
        for step in range(first, first + 1000):
            began = time.perf_counter()
            run.metrics({"loss": 1.0, "rate": step}, step=step)
            seconds.append(time.perf_counter() - began)

    server.hold()
    with start_run("train", config, StageConfig()) as run:
        run.tag("mood", "patient")  # Makes the run, or tries to for a while.
        log(run, 0)
        server.release()
        wait_for(lambda: bool(run.run_id()))
        server.hold()
        log(run, 1000)
        began = time.perf_counter()
    assert time.perf_counter() - began < 10
    server.release()
    assert np.percentile(seconds, 99) < 1e-3
    with start_run("next", config, StageConfig()) as run:
        run.metrics({"loss": 1.0})
        wait_for(lambda: "train" in found(config) and found(config)["train"].info.status == "FINISHED")
    train = found(config)["train"]
    assert steps(config, train, "loss") == list(range(2000))
    assert steps(config, train, "rate") == list(range(2000))
    reports = [record for record in caplog.records if "can't be reached" in record.getMessage()]
    assert len(reports) <= 2  # One for each time that it became unreachable.
