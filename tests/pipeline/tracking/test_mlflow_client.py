"""What is refused before work because of MLflow's experiment or user; a server that is away is no reason."""

import http.server
import threading
from collections.abc import Iterator

import pytest
from mlflow import MlflowClient

from bar_model.errors import BadInput
from pipeline.tracking.mlflow_client import check_experiment, is_databricks
from pipeline.tracking.start import TrackingConfig, start_run
from tests.harness.mlflow_runs import StageConfig

pytest_plugins = ["tests.harness.fixtures_mlflow"]
pytestmark = pytest.mark.system


@pytest.fixture
def answering(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a server that answers all with one status."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(request.param)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base names it so)
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://user:geheim@127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("answering", [401, 403, 404], indirect=True)
def test_a_server_that_does_not_know_this_user_is_refused(answering: str) -> None:
    with pytest.raises(BadInput, match=r"user:\*\*\*@127.*refuses this user or is no MLflow server") as caught:
        check_experiment(answering, "bar")
    assert "geheim" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_that_is_away_is_no_reason() -> None:
    check_experiment("http://127.0.0.1:1", "bar")


def test_a_deleted_experiment_is_refused_before_work(mlflow_here: TrackingConfig) -> None:
    with start_run("train", mlflow_here, StageConfig()) as run:
        run.metrics({"loss": 1.0})
    client = MlflowClient(mlflow_here.uri)
    experiment = client.get_experiment_by_name(mlflow_here.experiment or "")
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    remedy = rf"mlflow experiments restore --experiment-id {experiment.experiment_id}"
    with pytest.raises(BadInput, match=remedy), start_run("train", mlflow_here, StageConfig()):
        raise AssertionError("began")
    client.restore_experiment(experiment.experiment_id)
    with start_run("train", mlflow_here, StageConfig()):
        pass


def test_databricks_is_what_mlflow_takes_for_it(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    assert is_databricks("databricks")
    assert is_databricks("databricks://profile")
    assert not is_databricks("databricks-uc")
    for name in ("DATABRICKS_HOST", "DATABRICKS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", f"{tmp_path}/none")
    with pytest.raises(BadInput, match=r"databricks can't be logged in to: install databricks-sdk"):
        check_experiment("databricks", "/Users/me/bar")
