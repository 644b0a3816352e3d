"""Runs through deaths and a server that goes away, from several processes, machines and threads at once."""

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from bar_model.errors import BadInput
from pipeline.tracking import recovery as leftovers
from pipeline.tracking.run import Run
from pipeline.tracking.start import TrackingConfig, start_run
from tests.harness.mlflow_runs import StageConfig, found, steps
from tests.harness.mlflow_server import Server
from tests.harness.waiting import wait_for

pytest_plugins = ["tests.harness.fixtures_mlflow"]
pytestmark = pytest.mark.system
REPOSITORY = Path(__file__).parents[3]


def work_until(error: BaseException, config: TrackingConfig) -> None:
    with start_run("train", config, StageConfig()) as run:
        run.metrics({"loss": 1.0})
        raise error


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError("no\nmore"), "FAILED"), (KeyboardInterrupt(), "KILLED"), (SystemExit(15), "KILLED")],
)
def test_how_a_run_ended_is_told(mlflow_here: TrackingConfig, error: BaseException, status: str) -> None:
    with pytest.raises(type(error)):
        work_until(error, mlflow_here)
    assert found(mlflow_here)["train"].info.status == status
    assert type(error).__name__ in found(mlflow_here)["train"].data.tags["bar.reason"]


def test_input_that_is_refused_at_once_leaves_no_trace(mlflow_here: TrackingConfig, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(BadInput), start_run("train", mlflow_here, StageConfig(), out=str(out)):
        raise BadInput("no codes there: give --codes")
    assert not found(mlflow_here)
    assert not out.exists()
    with pytest.raises(BadInput):
        work_until(BadInput("the codes end here: tokenize again"), mlflow_here)
    assert found(mlflow_here)["train"].info.status == "FAILED"


def test_threads_log_at_once(mlflow_here: TrackingConfig) -> None:
    with start_run("train", mlflow_here, StageConfig()) as run:
        threads = [
            threading.Thread(target=lambda i=i: [run.metrics({f"t{i}": s}, step=s) for s in range(100)])
            for i in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [steps(mlflow_here, found(mlflow_here)["train"], f"t{i}") for i in range(4)] == [list(range(100))] * 4


def log_from_worker(run: Run, worker: int, num_steps: int) -> None:
    for step in range(num_steps):
        run.metrics({f"worker{worker}": step}, step=step)
    run.figure(f"worker{worker}", np.zeros((4, 4, 3), np.uint8), step=num_steps)
    run.flush(60)


def test_six_processes_log_at_once_on_four_machines(mlflow_here: TrackingConfig, tmp_path: Path) -> None:
    """The first three on the driver's machine, which sends for them; a folder of its own stands for a machine."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mlflow", "pipeline.tracking.mlflow_server"])  # Once instead of six times.
    with start_run("train", mlflow_here, StageConfig()) as run:
        handles = [run, run, run, *(replace(run, spool=str(tmp_path / f"machine{i}")) for i in range(3))]
        workers = [context.Process(target=log_from_worker, args=(handle, i, 500)) for i, handle in enumerate(handles)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(200)
        assert [worker.exitcode for worker in workers] == [0] * 6
    told = found(mlflow_here)["train"]
    assert told.info.status == "FINISHED"
    assert [steps(mlflow_here, told, f"worker{i}") for i in range(6)] == [list(range(500))] * 6
    images = MlflowClient(mlflow_here.uri).list_artifacts(told.info.run_id, "images")
    assert len([image for image in images if image.path.endswith(".png")]) == 6


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
    assert found(mlflow_here)["second"].data.tags["bar.reason"] == "the driver died without a word"
    assert steps(mlflow_here, found(mlflow_here)["second"], "loss") == [1]


def test_a_server_that_is_away_costs_no_point_and_no_time(
    mlflow_here: TrackingConfig, server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(leftovers, "SWEEP_S", 1.0)
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
        wait_for(lambda: bool(run.id))
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
    away = [record for record in caplog.records if "can't be reached" in record.getMessage()]
    assert len(away) <= 2  # Once for each time that it went away.
