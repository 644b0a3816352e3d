"""Records that a server will never take are set aside, said once, and arrive when the cause is gone."""

import shutil
import stat
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.tracking import recovery
from pipeline.tracking.spool import Journal, Record, Sender, Undeliverable
from pipeline.tracking.start import TrackingConfig, start_run
from pipeline.tracking.undeliverable import explain, set_aside, set_aside_folder
from tests.harness.mlflow_runs import StageConfig, found, steps
from tests.harness.waiting import wait_for

pytest_plugins = ["tests.harness.fixtures_mlflow"]


def refuse_all(records: list[Record]) -> list[Record]:
    raise Undeliverable("it was deleted")


def test_a_spool_is_set_aside_once_nobody_writes_to_it(tmp_path: Path) -> None:
    spool, said = tmp_path / "key", []
    journal = Journal(spool, {"of": "me"})
    sender = Sender(spool, refuse_all, "server", refuse=said.append, set_aside=lambda: set_aside(spool))
    journal.append({"number": 1})
    assert not sender.send()
    assert not sender.send()
    assert (said, len(list(spool.glob("*.jsonl")))) == (["it was deleted"], 1)
    journal.close()
    assert not sender.send()
    assert not list(spool.glob("*.jsonl"))
    assert len(list(set_aside_folder(spool).glob("*.jsonl"))) == 1
    sender.release()


def test_the_text_beside_it_says_why_and_what_to_do_and_nobody_else_reads_it(tmp_path: Path) -> None:
    spool = tmp_path / "key"
    assert explain(spool, "postgresql://u:***@h/db", "denied at https://u:p@h/x")
    assert not explain(spool, "again", "again")
    text = set_aside_folder(spool).with_suffix(".txt")
    assert "denied at https://u:***@h/x" in text.read_text()
    assert f"mv '{set_aside_folder(spool)}' '{spool}'" in text.read_text()
    assert stat.S_IMODE(text.stat().st_mode) == 0o600
    assert stat.S_IMODE(text.parent.stat().st_mode) == 0o700


def delete_experiment(client: MlflowClient, run_id: str) -> str:
    number = client.get_run(run_id).info.experiment_id
    client.delete_experiment(number)
    return number


@pytest.mark.system
@pytest.mark.parametrize("deleted", ["experiment", "run"])
def test_a_run_without_a_place_troubles_no_later_job_and_can_be_put_back(
    mlflow_here: TrackingConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    deleted: str,
) -> None:
    monkeypatch.setattr(recovery, "SWEEP_INTERVAL_S", 0.2)
    client = MlflowClient(mlflow_here.uri)
    with start_run("train", mlflow_here, StageConfig()) as run:
        run.metrics({"loss": 1.0}, step=0)
        assert run.flush()
        run_id = run.run_id() or ""
        number = client.get_run(run_id).info.experiment_id
        if deleted == "experiment":
            client.delete_experiment(number)
        else:
            client.delete_run(run_id)
        run.metrics({"loss": 1.0}, step=1)
        run.artifact("note.txt", b"x")
    (text,) = (tmp_path / "spool" / "undelivered").glob("*.txt")
    assert [record.getMessage().count(f"{deleted}") > 0 for record in caplog.records] == [True]
    caplog.clear()
    if deleted == "experiment":
        other = TrackingConfig(uri=mlflow_here.uri, experiment=f"{number} other", spool=mlflow_here.spool)
    else:
        other = mlflow_here
    with start_run("next", other, StageConfig()) as run:
        run.metrics({"loss": 1.0})
    assert not caplog.records
    assert found(other)["next"].info.status == "FINISHED"
    (client.restore_experiment if deleted == "experiment" else client.restore_run)(
        number if deleted == "experiment" else run_id
    )
    shutil.move(text.with_suffix(""), tmp_path / "spool" / text.stem)
    with start_run("last", mlflow_here, StageConfig()) as run:
        run.metrics({"loss": 1.0})
        wait_for(lambda: not (tmp_path / "spool" / text.stem).exists())
    assert steps(mlflow_here, found(mlflow_here)["train"], "loss") == [0, 1]
    assert found(mlflow_here)["train"].info.status == "FINISHED"
    assert "note.txt" in [entry.path for entry in client.list_artifacts(run_id)]
