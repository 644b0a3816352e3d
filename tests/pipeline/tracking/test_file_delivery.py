"""A store of artifacts that fails costs no point, is named once, and gets its files later, in their order."""

import os
from dataclasses import replace
from pathlib import Path

import boto3
import pytest
from mlflow import MlflowClient

from pipeline.tracking import file_delivery, recovery
from pipeline.tracking.file_delivery import FileDelivery
from pipeline.tracking.mlflow_server import EXPERIMENT_TAGS
from pipeline.tracking.spool import Record
from pipeline.tracking.start import TrackingConfig, start_run
from tests.harness.mlflow_runs import StageConfig, found, steps
from tests.harness.waiting import wait_for

pytest_plugins = ["tests.harness.fixtures_mlflow", "tests.harness.fixtures_s3"]


def test_no_file_overtakes_another_and_the_failure_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(file_delivery, "PAUSE_S", 0.0)
    sent: list[Record] = []
    is_away = True

    def send(record: Record) -> None:
        if is_away and record["number"] > 0:
            raise OSError("no answer of https://u:p@store/x")
        sent.append(record)

    delivery = FileDelivery("run train", tmp_path, quiet=False)
    first, second, third = ({"number": number} for number in range(3))
    assert delivery.send([first, second], send, lambda: "s3://bucket") == [second]
    assert delivery.send([second, third], send, lambda: "s3://bucket") == [second, third]
    is_away = False
    wait_for(lambda: delivery.send([second, third], send, lambda: "s3://bucket") == [])
    assert sent == [first, second, third]
    said, back = (record.getMessage() for record in caplog.records)
    assert "check s3://bucket and its credentials (OSError: no answer of https://u:***@store/x)" in said
    assert "has the files that waited" in back


@pytest.mark.system
def test_artifacts_without_a_bucket_wait_and_points_and_the_end_arrive(
    mlflow_here: TrackingConfig,
    s3_folder: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(recovery, "SWEEP_INTERVAL_S", 0.2)
    missing = f"{s3_folder}-missing".replace("/folder", "")
    client = MlflowClient(mlflow_here.uri)
    with start_run("first", replace(mlflow_here, experiment="another"), StageConfig()):
        pass  # Makes the tables.
    client.create_experiment(mlflow_here.experiment or "", artifact_location=missing, tags=EXPERIMENT_TAGS)
    with start_run("train", mlflow_here, StageConfig()) as run:
        for step in range(3):
            run.metrics({"loss": 1.0}, step=step)
            run.artifact("note.txt", f"{step}".encode())
    train = found(mlflow_here)["train"]
    assert train.info.status == "FINISHED"
    assert steps(mlflow_here, train, "loss") == [0, 1, 2]
    (said,) = (record.getMessage() for record in caplog.records)
    assert missing in said
    assert "artifact store of run train" in said
    boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"]).create_bucket(Bucket=missing.removeprefix("s3://"))
    with start_run("next", mlflow_here, StageConfig()) as run:
        run.metrics({"loss": 1.0})
        wait_for(lambda: len(list((tmp_path / "spool").glob("*/driver"))) == len(list((tmp_path / "spool").glob("*/"))))
    client.download_artifacts(train.info.run_id, "note.txt", str(tmp_path))
    assert (tmp_path / "note.txt").read_text() == "2"
    assert len(caplog.records) == 1
