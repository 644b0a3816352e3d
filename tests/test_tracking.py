"""Runs in MLflow: on SQLite, on a real server that goes away and returns, from several processes, through deaths."""

import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run as MlflowEntity

from bar_model.errors import BadInput
from pipeline import leftovers, tracking
from pipeline.lineage import Input, Note
from pipeline.storage import Folder
from pipeline.tracking import Judged, Run, TrackingConfig
from tests.mlflow_server import Server

pytest_plugins = ["tests.fixtures_mlflow"]
pytestmark = pytest.mark.system
REPOSITORY = Path(__file__).parent.parent


@dataclass(frozen=True)
class StageConfig:
    steps: int = 3
    sizes: tuple[int, ...] = (8, 16)
    note: str = "x" * 7000


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def config(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> TrackingConfig:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)  # Where MLflow puts the files of an experiment in a local database.
    return TrackingConfig(uri=database, experiment=request.node.name, spool=str(tmp_path / "spool"))


def found(config: TrackingConfig) -> dict[str, MlflowEntity]:
    """The runs of a test's experiment by name; more than one of a name is an error."""
    assert config.uri is not None
    client = MlflowClient(config.uri)
    experiment = client.get_experiment_by_name(config.experiment or "")
    if experiment is None:
        return {}
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    entities = client.search_runs([experiment.experiment_id])
    by_name = {str(entity.info.run_name): entity for entity in entities}
    assert len(by_name) == len(entities)
    return by_name


def steps(config: TrackingConfig, run: MlflowEntity, metric: str) -> list[int]:
    return sorted(point.step for point in MlflowClient(config.uri).get_metric_history(run.info.run_id, metric))


def test_a_pipeline_and_its_stage_are_told_with_all_that_they_did(config: TrackingConfig, tmp_path: Path) -> None:
    with (
        tracking.start("pipeline", config, StageConfig()) as pipeline,
        pipeline.child("train", StageConfig(steps=5)) as run,
    ):
        before = time.time()
        for step in range(5):
            run.metrics({"loss": 1 / (step + 1), "train/accuracy": step}, step=step)
        run.figure("samples/guided", np.full((16, 24, 3), 128, np.uint8), step=4)
        run.input("codes", "s3://bucket/codes", "f" * 64)
        run.output("model", "/runs/model", "abc")
        run.artifact("reports/report.html", b"<p>fine</p>")
        run.tag("mood", "good")
        run_id = run.id
    told = found(config)
    train, parent = told["train"], told["pipeline"]
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
    client = MlflowClient(config.uri)
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


def test_a_run_that_is_started_again_goes_on_and_repeats_no_step(config: TrackingConfig, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    with tracking.start("train", config, StageConfig(steps=3), out=out) as run:
        for step in range(3):
            run.metrics({"loss": 1.0}, step=step)
        run.figure("grid", np.zeros((4, 4, 3), np.uint8), step=2)
        run.input("codes", "s3://bucket/codes", "c")
        run.output("model", f"{out}/model", "m")
    first = found(config)["train"]
    with tracking.start("train", config, StageConfig(steps=9), out=out) as run:
        assert found(config)["train"].info.status == "FINISHED"  # Until there is something to say.
        for step in range(1, 6):
            run.metrics({"loss": 2.0, "other": 1.0}, step=step)
        run.metrics({"loss": 3.0}, step=5)
        run.figure("grid", np.zeros((4, 4, 3), np.uint8), step=2)
        assert found(config)["train"].info.status == "RUNNING"
    note = Note.read(Folder(out))
    assert (note.inputs, note.made) == ([Input("codes", "s3://bucket/codes", "c")], {"m"})
    assert note.metrics == {"loss": 3.0, "other": 1.0}
    again = found(config)["train"]
    assert again.info.run_id == first.info.run_id
    assert again.info.status == "FINISHED"
    assert again.data.params["steps"] == "3"
    assert again.data.tags["changed.steps"] == "9"
    assert steps(config, again, "loss") == list(range(6))
    assert steps(config, again, "other") == list(range(1, 6))
    images = MlflowClient(config.uri).list_artifacts(again.info.run_id, "images")
    assert len([image for image in images if image.path.endswith(".png")]) == 1


def test_a_checkpoint_is_found_by_its_figures(config: TrackingConfig) -> None:
    """Registered by its training, judged by another run with two protocols, and known by its fingerprint alone."""
    with tracking.start("train", config, StageConfig()) as run:
        for _ in range(2):
            run.model("bar", "s3://bucket/runs/model", "f" * 16, sha256="e" * 64)
        run.metrics({"final/loss": 0.5}, of=Judged("f" * 16))
    for name, images, fid in (("few", "5,000 images", 4.0), ("many", "50,000 images", 1.2)):
        with tracking.start(name, config, StageConfig()) as run:
            run.metrics({"fid": fid}, of=Judged("f" * 16, images, name))
            run.metrics({"of nobody": 1.0}, of=Judged("0" * 16))
    client = MlflowClient(config.uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    (model,) = client.search_logged_models(experiments, "metrics.fid < 1.5")
    assert (model.name, model.status, model.source_run_id) == ("bar", "READY", found(config)["train"].info.run_id)
    assert model.tags["uri"] == "s3://bucket/runs/model"
    assert (model.tags["fingerprint"], model.tags["sha256"]) == ("f" * 16, "e" * 64)
    assert {(point.key, point.value) for point in model.metrics or []} == {
        ("final/loss", 0.5),
        ("fid", 4.0),
        ("fid", 1.2),
    }
    few = [{"dataset_name": "5,000 images", "dataset_digest": "few"}]
    assert not client.search_logged_models(experiments, "metrics.fid < 1.5", datasets=few)
    assert found(config)["few"].data.metrics == {"fid": 4.0, "of nobody": 1.0}


def work_until(error: BaseException, config: TrackingConfig) -> None:
    with tracking.start("train", config, StageConfig()) as run:
        run.metrics({"loss": 1.0})
        raise error


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError("no\nmore"), "FAILED"), (KeyboardInterrupt(), "KILLED"), (SystemExit(15), "KILLED")],
)
def test_how_a_run_ended_is_told(config: TrackingConfig, error: BaseException, status: str) -> None:
    with pytest.raises(type(error)):
        work_until(error, config)
    assert found(config)["train"].info.status == status
    assert type(error).__name__ in found(config)["train"].data.tags["bar.reason"]


def test_input_that_is_refused_at_once_leaves_no_trace(config: TrackingConfig, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(BadInput), tracking.start("train", config, StageConfig(), out=str(out)):
        raise BadInput("no codes there: give --codes")
    assert not found(config)
    assert not out.exists()
    with pytest.raises(BadInput):
        work_until(BadInput("the codes end here: tokenize again"), config)
    assert found(config)["train"].info.status == "FAILED"


def test_mlflows_environment_is_respected(
    config: TrackingConfig, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tracking.start("outer", config, StageConfig()) as outer:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", config.experiment or "")
        monkeypatch.setenv("MLFLOW_RUN_ID", outer.id or "")
        with tracking.start("inner", TrackingConfig(spool=config.spool), StageConfig()):
            pass
        assert found(config)["outer"].info.status == "RUNNING"
    assert found(config)["inner"].data.tags["mlflow.parentRunId"] == found(config)["outer"].info.run_id


@pytest.mark.parametrize("uri", ["mlruns", "gopher://host", "sqlite:////proc/none/mlflow.db"])
def test_a_place_that_cannot_keep_runs_is_refused(config: TrackingConfig, uri: str) -> None:
    with (
        pytest.raises(BadInput, match=r"tracking\.uri"),
        tracking.start("train", replace(config, uri=uri), StageConfig()),
    ):
        raise AssertionError("began")


def test_the_machine_is_watched_by_the_names_that_mlflow_shows(
    config: TrackingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.system_metrics.metrics import cpu_monitor, disk_monitor, network_monitor

    monkeypatch.setattr("pipeline.machine.INTERVAL_S", 0.1)
    with tracking.start("train", config, StageConfig(), out=str(tmp_path)) as run, run.child("stage", StageConfig()):
        run.metrics({"loss": 1.0})
        time.sleep(2.5)
    names = {name for name in found(config)["train"].data.metrics if name.startswith("system/")}
    assert len(names) == 8
    monitors = (cpu_monitor.CPUMonitor, disk_monitor.DiskMonitor, network_monitor.NetworkMonitor)
    for monitor in (make() for make in monitors):
        monitor.collect_metrics()
        names -= {f"system/{name}" for name in monitor.aggregate_metrics()}
    assert not names
    memory = "system/system_memory_usage_percentage"
    assert 2 <= len(steps(config, found(config)["train"], memory)) <= 4
    assert 0 < found(config)["train"].data.metrics[memory] < 100
    assert not found(config)["stage"].data.metrics
    assert set(json.loads((tmp_path / "tracking.json").read_bytes())["metrics"]) == {"loss"}


def test_what_mlflow_refuses_costs_nothing_else(config: TrackingConfig, caplog: pytest.LogCaptureFixture) -> None:
    with tracking.start("train", config, StageConfig()) as run:
        run.metrics({"good": 1.0, "bad=name": 2.0, "also good": float("nan")})
    assert set(found(config)["train"].data.metrics) == {"good", "also good"}
    assert [record.getMessage()[:24] for record in caplog.records] == ["MLflow refuses <Metric: "]


def log_from_worker(run: Run, worker: int, num_steps: int) -> None:
    for step in range(num_steps):
        run.metrics({f"worker{worker}": step}, step=step)
    run.figure(f"worker{worker}", np.zeros((4, 4, 3), np.uint8), step=num_steps)
    run.flush(60)


def test_six_processes_log_at_once_on_four_machines(config: TrackingConfig, tmp_path: Path) -> None:
    """The first three on the driver's machine, which sends for them; a folder of its own stands for a machine."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mlflow", "pipeline.tracking"])  # Once instead of six times.
    with tracking.start("train", config, StageConfig()) as run:
        handles = [run, run, run, *(replace(run, spool=str(tmp_path / f"machine{i}")) for i in range(3))]
        workers = [context.Process(target=log_from_worker, args=(handle, i, 500)) for i, handle in enumerate(handles)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(200)
        assert [worker.exitcode for worker in workers] == [0] * 6
    told = found(config)["train"]
    assert told.info.status == "FINISHED"
    assert [steps(config, told, f"worker{i}") for i in range(6)] == [list(range(500))] * 6
    images = MlflowClient(config.uri).list_artifacts(told.info.run_id, "images")
    assert len([image for image in images if image.path.endswith(".png")]) == 6


DRIVER = """
import sys, time
from pipeline import tracking
name, uri, experiment, spool = sys.argv[1:]
config = tracking.TrackingConfig(uri=uri, experiment=experiment, spool=spool)
with tracking.start(name, config, {"steps": 1}) as run:
    run.metrics({"loss": 1.0}, step=1)
    print("began", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def drivers(config: TrackingConfig, tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Two processes, each with a run that has logged something."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", DRIVER, name, config.uri or "", config.experiment or "", config.spool],
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


def test_sigterm_and_sigkill_leave_a_run_killed(config: TrackingConfig, drivers: list[subprocess.Popen[str]]) -> None:
    first, second = drivers
    first.terminate()
    assert first.wait(30) == 143
    assert found(config)["first"].info.status == "KILLED"
    second.kill()
    second.wait(30)
    assert found(config)["second"].info.status == "RUNNING"
    with tracking.start("next", config, StageConfig()) as run:
        run.metrics({"loss": 1.0})
        wait_for(lambda: found(config)["second"].info.status == "KILLED")
    assert found(config)["second"].data.tags["bar.reason"] == "the driver died without a word"
    assert steps(config, found(config)["second"], "loss") == [1]


def test_a_server_that_is_away_costs_no_point_and_no_time(
    config: TrackingConfig, server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(leftovers, "SWEEP_S", 1.0)
    config = replace(config, uri=server.uri)
    seconds: list[float] = []

    def log(run: Run, first: int) -> None:
        for step in range(first, first + 1000):
            began = time.perf_counter()
            run.metrics({"loss": 1.0, "rate": step}, step=step)
            seconds.append(time.perf_counter() - began)

    server.hold()
    with tracking.start("train", config, StageConfig()) as run:
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
    with tracking.start("next", config, StageConfig()) as run:
        run.metrics({"loss": 1.0})
        wait_for(lambda: "train" in found(config) and found(config)["train"].info.status == "FINISHED")
    train = found(config)["train"]
    assert steps(config, train, "loss") == list(range(2000))
    assert steps(config, train, "rate") == list(range(2000))
    away = [record for record in caplog.records if "can't be reached" in record.getMessage()]
    assert len(away) <= 2  # Once for each time that it went away.


def wait_for(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_threads_log_at_once(config: TrackingConfig) -> None:
    with tracking.start("train", config, StageConfig()) as run:
        threads = [
            threading.Thread(target=lambda i=i: [run.metrics({f"t{i}": s}, step=s) for s in range(100)])
            for i in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [steps(config, found(config)["train"], f"t{i}") for i in range(4)] == [list(range(100))] * 4
