"""The whole pipeline in one command: small enough for every run of the tests, and as it is, with its goals."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from bar_model.errors import BadInput
from bar_model.generator.bar import BarConfig
from bar_model.generator.transformer import TransformerConfig
from bar_model.presets import digits, digits_tokenizer
from pipeline.presets.sampling import SAMPLING
from pipeline.presets.tokenizer_training import TOKENIZER_TRAINING
from pipeline.presets.tokenizing import TOKENIZING
from pipeline.presets.training import TRAINING
from pipeline.reports.report import Report
from pipeline.samples.folder import SampleFolder
from pipeline.tracking.start import TrackingConfig, start_run
from pipeline.workflows.quickstart import STAGE, QuickstartConfig, quickstart
from tests.harness.repository import REPOSITORY

pytest_plugins = ["tests.harness.fixtures_s3", "tests.harness.fixtures_ray"]

STAGES = {
    "train tokenizer",
    "tokenize train",
    "tokenize validation",
    "train",
    "sample with guidance",
    "sample without guidance",
    "evaluate",
}


def run_quickstart(config: QuickstartConfig) -> Report:
    with start_run(STAGE, config.tracking, config, out=config.out) as run:
        return quickstart(config, run)


def runs_of(config: QuickstartConfig) -> dict[str, Run]:
    """What MLflow holds, by name."""
    client = MlflowClient(config.tracking.uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(experiments)
    assert len({run.info.run_name for run in found}) == len(found)
    return {str(run.info.run_name): run for run in found}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> QuickstartConfig:
    """Every stage as it is, but tiny models, a few steps, and fewer samples."""

    def tiny_generator() -> BarConfig:
        return replace(digits(), transformer=TransformerConfig(width=32, depth=1, heads=2, class_repeats=2))

    train, train_tokenizer = TRAINING["digits"](), TOKENIZER_TRAINING["digits"]()
    sample, tokenize = SAMPLING["digits"](), TOKENIZING["digits"]()
    model = digits_tokenizer()
    tiny_tokenizer = replace(model, encoder=replace(model.encoder, depth=1), decoder=replace(model.decoder, depth=1))
    shrunk: list[tuple[dict[str, Any], object]] = [
        (TRAINING, replace(train, model=tiny_generator(), steps=3, batch=8)),
        (TOKENIZER_TRAINING, replace(train_tokenizer, model=tiny_tokenizer, steps=3, batch=8)),
        (TOKENIZING, replace(tokenize, unit_size=2000)),
        (SAMPLING, replace(sample, num_images=300, unit_size=300)),
    ]
    for presets, preset in shrunk:
        monkeypatch.setitem(presets, "digits", lambda preset=preset: preset)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    return QuickstartConfig(out=str(tmp_path / "out"), tracking=TrackingConfig(uri=uri, spool=str(tmp_path / "spool")))


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_every_stage_leaves_its_run_and_a_second_walk_repeats_none(
    config: QuickstartConfig, ray_here: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    report = run_quickstart(config)
    first = capfd.readouterr().out
    with pytest.raises(BadInput, match="seed: 0 there, 1 here"):
        run_quickstart(replace(config, seed=1))
    again = run_quickstart(config)
    second = capfd.readouterr().out
    assert again.results == report.results
    assert "finished before" not in first
    assert second.count("(finished before)") == len(STAGES)

    # A copy of the folder, with other times in another place, is finished as well.
    moved = shutil.copytree(config.out, tmp_path / "moved", copy_function=shutil.copyfile)
    assert run_quickstart(replace(config, out=str(moved))).results == report.results
    assert capfd.readouterr().out.count("(finished before)") == len(STAGES)

    picture = Path(config.out, "report", "report.png")
    assert picture.is_file()
    assert f"Pictures: {picture}" in first
    assert "make ui" in first
    assert SampleFolder.open(f"{config.out}/samples/guided").drawing.sampling.guided
    assert not SampleFolder.open(f"{config.out}/samples/unguided").drawing.sampling.guided

    runs = runs_of(config)
    parent = runs.pop(STAGE)
    assert runs.keys() == STAGES
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}
    assert {run.info.status for run in (parent, *runs.values())} == {"FINISHED"}
    assert parent.data.metrics.keys() >= {"class_accuracy_guided", "minutes/train"}
    # The chain from samples to pictures, by fingerprint.
    made = runs["train"].data.tags["output.model.fingerprint"]
    inputs = runs["sample with guidance"].inputs
    assert inputs is not None
    used = {entry.dataset.name: entry.dataset.digest for entry in inputs.dataset_inputs}
    assert used["generator"] == made


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_goals_are_reached(seed: int, tmp_path: Path) -> None:
    """What the quickstart's samples must be, in less than 8 GB over all of its processes."""
    command = [sys.executable, str(REPOSITORY / "jobs" / "quickstart.py"), "digits", "--seed", str(seed)]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}"}
    job = subprocess.Popen([*command, "--out", str(tmp_path / "out")], cwd=tmp_path, env=environment)
    start, peak = time.monotonic(), 0
    try:
        while job.poll() is None:
            peak = max(peak, memory_of(psutil.Process(job.pid)))
            time.sleep(1)
    finally:
        job.terminate()
        job.wait()
    print(f"seed {seed}: {(time.monotonic() - start) / 60:.1f} minutes, at most {peak / 1e9:.1f} GB")
    assert job.returncode == 0
    report = Report.from_json((tmp_path / "out" / "report" / "report.json").read_bytes())
    missed = {figure.name: value for figure, value in report.results if figure.goal and not figure.goal.is_met(value)}
    assert not missed
    assert peak < 8e9


def memory_of(process: psutil.Process) -> int:
    """Bytes that a process and all below it take; what they share counts once."""
    taken = 0
    for each in [process, *process.children(recursive=True)]:
        try:
            taken += each.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return taken
