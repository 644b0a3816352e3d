"""A training that is finished, and one that has no checkpoint to go on from; all without Ray."""

import dataclasses
from pathlib import Path

import pytest

from bar_model import checkpoint
from bar_model.errors import BadInput
from bar_model.generator.bar import Bar
from pipeline.execution.manifest import open_stage
from pipeline.storage import Folder
from pipeline.training import fit as fit_module
from pipeline.training.fit import expect_checkpoint, fit
from pipeline.training.learners.learner import Training
from pipeline.training.output import save_model
from pipeline.training.train_generator import prepare
from pipeline.training.worker import Outcome
from tests.harness.checkpoint_folders import write_checkpoints
from tests.harness.generator_training import tiny_bar, tiny_codes, tiny_training


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Training:
    """A training whose workers would save a model at once, and are counted in `runs`."""
    tiny_codes(tmp_path / "codes")
    bar = Bar(tiny_bar())

    def run_workers(training: Training, task: object, out: Folder, *given: object, **options: object) -> Outcome:
        with (tmp_path / "runs").open("a") as file:
            file.write("run\n")
        return Outcome({"train/loss": 0.5}, checkpoint.fingerprint(bar), save_model(bar, out))

    monkeypatch.setattr(fit_module, "run_workers", run_workers)
    monkeypatch.setattr(fit_module, "check_workers_fit", lambda workers: None)
    return prepare(tiny_training(tmp_path))


def test_a_finished_training_is_returned_and_not_done_again(training: Training, tmp_path: Path) -> None:
    trained = fit(training, None)
    assert checkpoint.fingerprint_of(trained.model) == trained.fingerprint
    assert trained.metrics == {"train/loss": 0.5}
    assert fit(training, None) == trained
    assert (tmp_path / "runs").read_text() == "run\n"
    (tmp_path / "out" / "model" / "config.json").unlink()
    with pytest.raises(BadInput, match=r"model/config\.json is missing, though this training is finished"):
        fit(training, None)


def test_another_recipe_is_refused(training: Training, tmp_path: Path) -> None:
    open_stage(Folder(training.config.out), training.stage, training.recipe)
    with pytest.raises(BadInput, match=r"seed: 1 there, 2 here"):
        fit(dataclasses.replace(training, recipe={**training.recipe, "seed": 2}), None)
    assert not (tmp_path / "runs").exists()


def test_a_resumed_training_needs_a_checkpoint(tmp_path: Path) -> None:
    config = tiny_training(tmp_path)
    expect_checkpoint(config)
    resumed = dataclasses.replace(config, resume="newest")
    with pytest.raises(BadInput, match="has no checkpoint to go on from: correct --out, or leave --resume out"):
        expect_checkpoint(resumed)
    write_checkpoints(Folder(config.out), 10)
    expect_checkpoint(resumed)
