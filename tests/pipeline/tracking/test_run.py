"""Logging from several threads, processes and machines at once, and what is sent to them."""

import multiprocessing
import pickle
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from pipeline.storage import Folder
from pipeline.tracking.address import RunAddress
from pipeline.tracking.lineage import RunSummary
from pipeline.tracking.run import Run, run_key
from pipeline.tracking.start import TrackingConfig, start_run
from tests.harness.mlflow_runs import StageConfig, found, steps

pytest_plugins = ["tests.harness.fixtures_mlflow"]
pytestmark = pytest.mark.system


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


def log_from_worker(address: RunAddress, worker: int, num_steps: int) -> None:
    run = Run(address)
    for step in range(num_steps):
        run.metrics({f"worker{worker}": step}, step=step)
    run.image(f"worker{worker}", np.zeros((4, 4, 3), np.uint8), step=num_steps)
    run.flush(60)


def test_six_processes_log_at_once_on_four_machines(mlflow_here: TrackingConfig, tmp_path: Path) -> None:
    """Three are on the driver's machine, which sends for them; a spool of its own stands for another machine."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mlflow", "pipeline.tracking.run"])  # Once instead of six times.
    with start_run("train", mlflow_here, StageConfig()) as run:
        here = run.for_workers()
        places = [here, here, here, *(replace(here, spool=str(tmp_path / f"machine{i}")) for i in range(3))]
        workers = [context.Process(target=log_from_worker, args=(place, i, 500)) for i, place in enumerate(places)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(200)
        assert [worker.exitcode for worker in workers] == [0] * 6
    logged = found(mlflow_here)["train"]
    assert logged.info.status == "FINISHED"
    assert [steps(mlflow_here, logged, f"worker{i}") for i in range(6)] == [list(range(500))] * 6
    images = MlflowClient(mlflow_here.uri).list_artifacts(logged.info.run_id, "images")
    assert len([image for image in images if image.path.endswith(".png")]) == 6


def test_a_run_is_opened_for_workers_and_never_pickled(mlflow_here: TrackingConfig) -> None:
    with start_run("train", mlflow_here, StageConfig()) as run:
        with pytest.raises(RuntimeError, match="for_workers"):
            pickle.dumps(run)
        assert not found(mlflow_here)
        pickle.dumps(run.for_workers())
        assert found(mlflow_here)["train"].info.status == "RUNNING"


def test_an_output_folder_keeps_its_key(tmp_path: Path) -> None:
    assert run_key(None) != run_key(None)
    assert run_key(str(tmp_path)) != run_key(str(tmp_path))
    RunSummary(run="key").save(Folder(str(tmp_path)))
    assert run_key(str(tmp_path)) == "key"
