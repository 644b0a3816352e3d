"""What MLflow has of a run: parameters, points, images, inputs, checkpoints; and what it refuses."""

import time
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from pipeline.storage import Folder
from pipeline.tracking.lineage import Input, Judged, RunSummary
from pipeline.tracking.start import TrackingConfig, start_run
from tests.harness.mlflow_runs import StageConfig, found, steps

pytest_plugins = ["tests.harness.fixtures_mlflow"]
pytestmark = pytest.mark.system


def test_mlflow_has_all_that_a_pipeline_and_its_stage_log(mlflow_here: TrackingConfig, tmp_path: Path) -> None:
    with (
        start_run("pipeline", mlflow_here, StageConfig()) as pipeline,
        pipeline.child("train", StageConfig(steps=5)) as run,
    ):
        before = time.time()
        for step in range(5):
            run.metrics({"loss": 1 / (step + 1), "train/accuracy": step}, step=step)
        run.image("samples/guided", np.full((16, 24, 3), 128, np.uint8), step=4)
        run.input("codes", "s3://bucket/codes", "f" * 64)
        run.output("model", "/runs/model", "abc")
        run.artifact("reports/report.html", b"<p>fine</p>")
        run.tag("mood", "good")
        run_id = run.run_id()
    runs = found(mlflow_here)
    train, parent = runs["train"], runs["pipeline"]
    assert (train.info.run_id, train.info.status, parent.info.status) == (run_id, "FINISHED", "FINISHED")
    assert train.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert train.data.params["steps"] == "5"
    assert train.data.params["sizes"] == "[8, 16]"
    assert train.data.params["note"].endswith("… (see config.json)")
    assert train.data.tags["output.model"] == "/runs/model"
    assert train.data.tags["output.model.fingerprint"] == "abc"
    assert train.data.tags["mood"] == "good"
    assert "pytest" in train.data.tags["bar.command"]
    assert train.data.tags["bar.version.torch"]
    assert train.inputs is not None
    (dataset,) = [entry.dataset for entry in train.inputs.dataset_inputs]
    assert (dataset.name, dataset.digest, dataset.source) == ("codes", "f" * 36, '{"uri": "s3://bucket/codes"}')
    client = MlflowClient(mlflow_here.uri)
    history = client.get_metric_history(train.info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(step, 1 / (step + 1)) for step in range(5)]
    assert all(abs(point.timestamp / 1000 - before) < 60 for point in history)
    files = [
        entry.path for folder in ("", "images", "reports") for entry in client.list_artifacts(run_id or "", folder)
    ]
    assert {"config.json", "reports/report.html"} <= set(files)
    assert any(file.startswith("images/samples~guided+step+4+") and file.endswith(".png") for file in files)
    kept = client.download_artifacts(run_id or "", "config.json", str(tmp_path))
    assert StageConfig().note in Path(kept).read_text()
    assert not [path for path in (tmp_path / "spool").iterdir() if path.is_dir()]


def test_a_run_that_is_started_again_goes_on_and_repeats_no_step(mlflow_here: TrackingConfig, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    with start_run("train", mlflow_here, StageConfig(steps=3), out=out) as run:
        for step in range(3):
            run.metrics({"loss": 1.0}, step=step)
        run.image("grid", np.zeros((4, 4, 3), np.uint8), step=2)
        run.input("codes", "s3://bucket/codes", "c")
        run.output("model", f"{out}/model", "m")
    first = found(mlflow_here)["train"]
    with start_run("train", mlflow_here, StageConfig(steps=9), out=out) as run:
        assert found(mlflow_here)["train"].info.status == "FINISHED"  # Until there is something to say.
        for step in range(1, 6):
            run.metrics({"loss": 2.0, "other": 1.0}, step=step)
        run.metrics({"loss": 3.0}, step=5)
        run.image("grid", np.zeros((4, 4, 3), np.uint8), step=2)
        assert found(mlflow_here)["train"].info.status == "RUNNING"
    summary = RunSummary.read(Folder(out))
    assert (summary.inputs, summary.output_fingerprints) == ([Input("codes", "s3://bucket/codes", "c")], {"m"})
    assert summary.metrics == {"loss": 3.0, "other": 1.0}
    again = found(mlflow_here)["train"]
    assert again.info.run_id == first.info.run_id
    assert again.info.status == "FINISHED"
    assert again.data.params["steps"] == "3"
    assert again.data.tags["changed.steps"] == "9"
    assert steps(mlflow_here, again, "loss") == list(range(6))
    assert steps(mlflow_here, again, "other") == list(range(1, 6))
    images = MlflowClient(mlflow_here.uri).list_artifacts(again.info.run_id, "images")
    assert len([image for image in images if image.path.endswith(".png")]) == 1


def test_a_checkpoint_is_found_by_its_figures(mlflow_here: TrackingConfig) -> None:
    """Registered by its training, judged by another run with two protocols, and known by its fingerprint alone."""
    with start_run("train", mlflow_here, StageConfig()) as run:
        for _ in range(2):
            run.model("bar", "s3://bucket/runs/model", "f" * 16, sha256="e" * 64)
        run.metrics({"final/loss": 0.5}, of=Judged("f" * 16))
    for name, images, fid in (("few", "5,000 images", 4.0), ("many", "50,000 images", 1.2)):
        with start_run(name, mlflow_here, StageConfig()) as run:
            run.metrics({"fid": fid}, of=Judged("f" * 16, images, name))
            run.metrics({"of nobody": 1.0}, of=Judged("0" * 16))
    client = MlflowClient(mlflow_here.uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    (model,) = client.search_logged_models(experiments, "metrics.fid < 1.5")
    assert (model.name, model.status, model.source_run_id) == ("bar", "READY", found(mlflow_here)["train"].info.run_id)
    assert model.tags["uri"] == "s3://bucket/runs/model"
    assert (model.tags["fingerprint"], model.tags["sha256"]) == ("f" * 16, "e" * 64)
    assert {(point.key, point.value) for point in model.metrics or []} == {
        ("final/loss", 0.5),
        ("fid", 4.0),
        ("fid", 1.2),
    }
    few = [{"dataset_name": "5,000 images", "dataset_digest": "few"}]
    assert not client.search_logged_models(experiments, "metrics.fid < 1.5", datasets=few)
    assert found(mlflow_here)["few"].data.metrics == {"fid": 4.0, "of nobody": 1.0}


def test_a_refused_point_costs_no_other(mlflow_here: TrackingConfig, caplog: pytest.LogCaptureFixture) -> None:
    with start_run("train", mlflow_here, StageConfig()) as run:
        run.metrics({"good": 1.0, "bad=name": 2.0, "also good": float("nan")})
    assert set(found(mlflow_here)["train"].data.metrics) == {"good", "also good"}
    assert [record.getMessage()[:24] for record in caplog.records] == ["MLflow refuses <Metric: "]
