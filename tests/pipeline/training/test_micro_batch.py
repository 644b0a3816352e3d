"""As many rows at once as fit into memory."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bar_model.errors import BadInput
from pipeline.training import micro_batch
from pipeline.training.config import WorkersConfig
from pipeline.training.learners.generator import TrainConfig
from pipeline.training.micro_batch import fit_micro_batch
from tests.harness.generator_training import ALONE, learner, losses, tiny_codes, tiny_training

CPU = torch.device("cpu")


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    tiny_codes(tmp_path / "codes", num=80)
    return tiny_training(tmp_path, batch=48, workers=WorkersConfig(micro_batch="auto"))


@pytest.mark.parametrize("rows", [8, 16, 30])
def test_what_is_chosen_fits_and_twice_as_much_might_not(
    config: TrainConfig, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = learner(config)
    room = micro_batch._peak(trained, rows)
    monkeypatch.setattr(micro_batch, "available_bytes", lambda device: 2 * room / micro_batch._SPARE)
    chosen = fit_micro_batch(trained, ALONE, CPU, workers_here=2)
    assert trained.share.micro_batch == chosen
    assert micro_batch._peak(trained, chosen) <= room < 2 * micro_batch._peak(trained, chosen)
    assert {len(part.indices) for part in trained.share.parts(0)} <= set(range(1, chosen + 1))


def test_all_at_once_where_there_is_room_and_the_same_losses_where_there_is_not(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    roomy, narrow = learner(config), learner(config)
    assert fit_micro_batch(roomy, ALONE, CPU, workers_here=1) == 48
    room = 1.5 * micro_batch._peak(narrow, 16)
    monkeypatch.setattr(micro_batch, "available_bytes", lambda device: room / micro_batch._SPARE)
    assert fit_micro_batch(narrow, ALONE, CPU, workers_here=1) == 16
    expected = losses(learner(replace(config, workers=WorkersConfig())), config, range(6))
    assert losses(roomy, config, range(6)) == expected  # What was tried has left nothing behind.
    assert losses(narrow, config, range(6)) == pytest.approx(expected, rel=1e-5)


def test_where_not_two_rows_fit_a_line_says_so(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(micro_batch, "available_bytes", lambda device: 1000)
    with pytest.raises(BadInput, match=r"micro_batch: auto, but 2 rows need .* KiB .* and 1e\+03 B are free"):
        fit_micro_batch(learner(config), ALONE, CPU, workers_here=1)
