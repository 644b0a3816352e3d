"""The MLflow server of infra/mlflow, on PostgreSQL and S3: three machines log at once, and it dies in the middle."""

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.synchronize import Event
from pathlib import Path

import boto3
import numpy as np
import pytest
import yaml
from mlflow import MlflowClient

from pipeline.tracking.address import RunAddress
from pipeline.tracking.run import Run
from pipeline.tracking.start import TrackingConfig, start_run
from tests.harness.mlflow_server import Server
from tests.harness.repository import REPOSITORY
from tests.harness.waiting import wait_for

pytest_plugins = ["tests.harness.fixtures_postgres", "tests.harness.fixtures_s3"]
pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(600)]

MANIFEST = REPOSITORY / "infra" / "mlflow" / "mlflow.yaml"
WORKERS, STEPS = 3, 2000


def pod() -> dict:
    (deployment,) = [each for each in yaml.safe_load_all(MANIFEST.read_text()) if each["kind"] == "Deployment"]
    return deployment["spec"]["template"]["spec"]


@pytest.fixture
def server(postgres: str, s3_folder: str) -> Iterator[Server]:
    """An MLflow server by the command lines in infra/, with another database, bucket and port."""
    (migrate,), (serve,) = pod()["initContainers"], pod()["containers"]
    environment = {each["name"]: each["value"] for each in serve["env"] if "value" in each}
    command = [postgres if word == "$(MLFLOW_BACKEND_STORE_URI)" else word for word in migrate["command"]]
    assert command[0] == "python"
    assert serve["command"] == ["python", "-m", "mlflow", "server"]
    subprocess.run([sys.executable, *command[1:]], env={**os.environ, **environment}, check=True, capture_output=True)
    environment["MLFLOW_BACKEND_STORE_URI"] = postgres
    arguments = [s3_folder if word == "s3://bucket/mlflow" else word for word in serve["args"]]
    server = Server(*arguments, environment=environment)
    yield server
    server.end()


def log_as_a_machine(address: RunAddress, worker: int, is_down: Event) -> None:
    run = Run(address)
    for step in range(STEPS):
        if step == STEPS // 2:
            is_down.wait(60)
        run.metrics({f"worker{worker}/loss": step}, step=step)
    run.image(f"worker{worker}", np.zeros((4, 4, 3), np.uint8), step=STEPS)
    wait_for(lambda: run.flush(10), 120)  # A flush gives up as soon as the server is away.


def test_no_point_is_lost_or_sent_twice_when_the_server_dies(
    server: Server, s3_folder: str, s3_server: str, tmp_path: Path
) -> None:
    config = TrackingConfig(uri=server.uri, experiment="bar", spool=str(tmp_path / "driver"))
    context = multiprocessing.get_context("forkserver")
    is_down = context.Event()
    with start_run("train", config, {"steps": STEPS}) as run:
        run_id = run.run_id()
        assert run_id is not None
        machines = [replace(run.for_workers(), spool=str(tmp_path / f"machine{index}")) for index in range(WORKERS)]
        workers = [
            context.Process(target=log_as_a_machine, args=(machine, index, is_down))
            for index, machine in enumerate(machines)
        ]
        for worker in workers:
            worker.start()
        client = MlflowClient(server.uri)
        wait_for(lambda: len(client.get_run(run_id).data.metrics) >= 1)  # The others may be in the middle of a batch.
        server.end()
        is_down.set()
        time.sleep(3)  # So that each has tried and failed.
        server.start()
        for worker in workers:
            worker.join(200)
        assert [worker.exitcode for worker in workers] == [0] * WORKERS
    for index in range(WORKERS):
        points = client.get_metric_history(run_id, f"worker{index}/loss")
        assert sorted((point.step, point.value) for point in points) == [(step, step) for step in range(STEPS)]
    assert client.get_run(run_id).info.status == "FINISHED"
    bucket, _, prefix = s3_folder.removeprefix("s3://").partition("/")
    files = boto3.client("s3", endpoint_url=s3_server).list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]
    pictures = [file["Key"] for file in files if file["Key"].endswith(".png")]
    assert len(pictures) == WORKERS
