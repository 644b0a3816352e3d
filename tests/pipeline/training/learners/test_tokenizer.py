"""The tokenizer's learner: seeded losses, kinds of steps, and the discriminator's groups of images."""

from pathlib import Path

import pytest
import torch

from bar_model.errors import BadInput
from bar_model.tokenizer.loss import FrozenNetworks
from pipeline.training.config import WorkersConfig
from pipeline.training.learners import tokenizer as tokenizer_learner
from pipeline.training.learners.image_loader import list_images, open_images
from pipeline.training.learners.tokenizer import TokenizerLearner, TrainTokenizerConfig
from pipeline.training.step.ranks import Ranks
from tests.harness.tokenizer_training import (
    ADVERSARIAL,
    SIZE,
    dino,
    losses,
    tiny_training,
    write_pictures,
)


def test_five_steps_have_the_losses_they_always_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refactor leaves them as they are; a commit that changes them says why."""
    write_pictures(tmp_path / "pictures")
    found = losses(tiny_training(tmp_path, loss=ADVERSARIAL, steps=5), monkeypatch)
    assert found == pytest.approx([0.715858, 0.664182, 0.586574, 1.070710, 0.487926], abs=2e-5)


def test_a_dry_run_tries_each_kind_of_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer_learner, "load_frozen_networks", lambda *given: FrozenNetworks(dino=dino))
    config = tiny_training(tmp_path, loss=ADVERSARIAL, steps=10, source=write_pictures(tmp_path / "pictures"))
    pictures, _ = open_images(list_images(config.source), SIZE, memory_gb=1.0)
    learner = TokenizerLearner(config, {"pictures": pictures}, Ranks(), torch.device("cpu"))
    tried = learner.kinds_of_steps(config.steps)
    assert tried == [(0, 4), (4, 3), (5, 3)]
    assert [learner.trainee_at(step).name for step, _ in tried] == ["tokenizer", "tokenizer", "discriminator"]
    assert learner.row_operations_at(0) == 3 * learner.row_operations_at(5) > 0


def test_the_discriminators_groups_are_whole(tmp_path: Path) -> None:
    def config(batch: int, workers: WorkersConfig) -> TrainTokenizerConfig:
        return tiny_training(tmp_path, loss=ADVERSARIAL, batch=batch, workers=workers)

    config(24, WorkersConfig(num=3))
    config(12, WorkersConfig())  # Undivided: two groups of six.
    with pytest.raises(BadInput, match="batch 9: 1 workers compute 9 pictures at once"):
        config(9, WorkersConfig())
    for workers in (WorkersConfig(micro_batch=12), WorkersConfig(num=2), WorkersConfig(max_num=2)):
        with pytest.raises(BadInput, match=r"batch 24: . workers compute 12 pictures at once, .* a multiple of 8"):
            config(24, workers)
