"""A learner needs no more than two methods, and the rest has defaults."""

from types import SimpleNamespace
from typing import Any

import torch

from bar_model.generator.bar import Bar
from pipeline.training.learners.learner import Learner, load_initial_weights, take_step
from pipeline.training.step.batches import Rows, Share, Shuffle
from tests.harness.generator_training import tiny_bar


class Smallest(Learner):
    """Two methods, and a trainee that only notes what it is given."""

    def __init__(self) -> None:
        self.share = Share(shuffle=Shuffle(num_rows=10, batch=4, seed=0), micro_batch=2)
        self.seen: list[Any] = []
        trainee: Any = SimpleNamespace(name="only", learn=self._learn)
        self.trainees = (trainee,)

    def micro_batch(self, rows: Rows, step: int) -> tuple[int, int]:
        return len(rows.indices), step

    def result(self) -> Bar:
        return Bar(tiny_bar())

    def _learn(self, micro_batches: Any, *, num: int, step: int) -> str:
        self.seen.append((list(micro_batches), num, step, torch.rand(()).item()))
        return "result"


def test_what_is_not_defined_has_a_default() -> None:
    learner = Smallest()
    assert learner.trainee_at(7) is learner.trainees[0]
    assert (learner.settings_at(0), learner.validate(), learner.draw()) == ({}, {}, None)
    assert learner.row_operations_at(0) is None
    assert learner.kinds_of_steps(12) == [(0, 12)]


def test_trainees_in_turns_are_kinds_of_steps() -> None:
    class InTurns(Smallest):
        def trainee_at(self, step: int) -> Any:
            return SimpleNamespace(name="second" if step >= 4 and step % 2 else "first")

    assert InTurns().kinds_of_steps(10) == [(0, 7), (5, 3)]


def test_a_step_gives_its_trainee_all_micro_batches_with_seeded_chance() -> None:
    learner = Smallest()
    found: Any = [take_step(learner, step, seed=1, rank=0) for step in (3, 3, 4)]
    assert found == ["result"] * 3
    assert learner.seen[0] == learner.seen[1]
    assert learner.seen[0][:3] == ([(2, 3), (2, 3)], 2, 3)
    assert learner.seen[2][3] != learner.seen[0][3]


def test_without_a_model_to_begin_with_nothing_is_done() -> None:
    config: Any = SimpleNamespace(init=None)
    load_initial_weights(Smallest(), config)
