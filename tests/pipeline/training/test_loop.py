"""The loop of a training without Ray: what is due, what is resumed, and what ends it early."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pipeline.storage import Folder
from pipeline.training import loop as loop_module
from pipeline.training.checkpoints.listing import SCORE
from pipeline.training.checkpoints.state import Snapshot
from pipeline.training.config import Cadence
from pipeline.training.learners.generator import TrainConfig
from pipeline.training.loop import Loop
from pipeline.training.step.guard import Diverged
from pipeline.training.train_generator import prepare
from tests.harness.generator_training import ALONE, learner, losses, tiny_codes, tiny_training


class Saved:
    """Keeps checkpoints in folders named after their steps, in place of Ray Train."""

    def __init__(self, out: Folder, ranks: object) -> None:
        self.folder = out
        self.metrics: dict[int, dict[str, float]] = {}

    def save(self, tensors: Any, values: Any, *, step: int, metrics: dict[str, float]) -> None:
        snapshot = Snapshot(ALONE)
        snapshot.take(tensors, values)
        snapshot.write(self.folder / str(step))
        self.metrics[step] = dict(metrics)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    tiny_codes(tmp_path / "codes")
    tiny_codes(tmp_path / "held_out", seed=1, num=7)
    monkeypatch.setattr(loop_module, "Saver", Saved)
    monkeypatch.setattr(Loop, "_send_status", lambda self: None)
    cadence = Cadence(log_every=1, validate_every=4, checkpoint_every=6)
    return tiny_training(tmp_path, held_out=str(tmp_path / "held_out"), cadence=cadence)


def make_loop(config: TrainConfig, logged: dict[int, dict[str, float]] | None = None) -> Loop:
    run: Any = (
        None
        if logged is None
        else SimpleNamespace(metrics=lambda values, step: logged.setdefault(step, {}).update(values))
    )
    prepared = prepare(config)
    torch.manual_seed(config.seed)
    built = prepared.build(config, prepared.data, ALONE, torch.device("cpu"))
    return Loop(config, built, ALONE, torch.device("cpu"), run, None)


def test_what_is_due_is_done_and_a_resumed_loop_goes_on_bit_for_bit(config: TrainConfig) -> None:
    logged: dict[int, dict[str, float]] = {}
    loop = make_loop(config, logged)
    loop.run()
    expected = losses(learner(config), config, range(12))
    assert [logged[step]["train/loss"] for step in range(1, 13)] == expected
    assert [step for step, values in logged.items() if "validation/loss" in values] == [4, 8, 12]
    saved: Any = loop._saver
    assert {step: SCORE in metrics for step, metrics in saved.metrics.items()} == {6: False, 12: True}
    assert saved.metrics[12][SCORE] == logged[12]["validation/loss"]

    again: dict[int, dict[str, float]] = {}
    resumed = make_loop(config, again)
    resumed.resume(f"{config.out}/6")
    assert resumed.done == 6
    resumed.run()
    assert [again[step]["train/loss"] for step in range(7, 13)] == expected[6:]


def test_a_loop_that_is_to_stop_saves_first(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def request_stop(self: Loop) -> None:
        self._is_to_stop = self.done == 4

    monkeypatch.setattr(Loop, "_send_status", request_stop)
    loop = make_loop(config)
    loop.run()
    saved: Any = loop._saver
    assert (loop.done, list(saved.metrics)) == (4, [4])


def test_three_steps_that_are_not_finite_end_the_training(config: TrainConfig) -> None:
    loop = make_loop(config)
    with torch.no_grad():
        next(loop.learner.trainees[0].model.parameters()).fill_(math.nan)
    with pytest.raises(Diverged, match=r"not finite in steps 0 to 2 \(rows of the last: "):
        loop.run()
