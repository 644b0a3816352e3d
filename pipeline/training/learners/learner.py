"""What a learner is, a step of it, and a training that is ready to begin."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bar_model import checkpoint
from pipeline.execution.manifest import Inputs
from pipeline.training.config import TrainingConfig
from pipeline.training.initial_weights import load_initial, start_from
from pipeline.training.meter import Meter
from pipeline.training.step.batches import Rows, Share
from pipeline.training.step.ranks import Ranks
from pipeline.training.step.trainee import StepResult, Trainee, seed_dropout


class Learner(ABC):
    """What is learned: one trainee, or several that take turns. Each step belongs to one of them.

    A new learner sets `share` and `trainees` and defines `micro_batch` and `result`. All else has a default.
    """

    share: Share
    """The rows that this worker sees."""
    trainees: Sequence[Trainee]
    """The models in training. Spikes are watched in the loss of the first one, and it may begin with given weights."""

    @abstractmethod
    def micro_batch(self, rows: Rows, step: int) -> Sequence[Any]:
        """The arguments of the objective for some rows of a step."""

    @abstractmethod
    def result(self) -> checkpoint.Model:
        """The model that is saved; all ranks have to call it together."""

    def trainee_at(self, step: int) -> Trainee:
        """The trainee that the step belongs to; by default the first."""
        return self.trainees[0]

    def settings_at(self, step: int) -> dict[str, float]:
        """Settings of the step that are logged beside the metrics of the trainees; by default none."""
        return {}

    def validate(self) -> dict[str, float]:
        """Metrics on held-out data, by default none; `loss` decides which checkpoints are the best.

        All ranks call it together.
        """
        return {}

    def draw(self) -> np.ndarray | None:
        """A grid of images (height, width, 3) that shows the progress, on the first rank; by default none.

        All ranks call it together.
        """
        return None

    def kinds_of_steps(self, num_steps: int) -> Sequence[tuple[int, int]]:
        """The first step of each kind, and the number of steps of that kind; only a dry run needs them.

        Steps of a kind take as long as each other. By default each trainee has a kind of its own.
        """
        steps: dict[str, list[int]] = {}
        for step in range(num_steps):
            steps.setdefault(self.trainee_at(step).name, []).append(step)
        return [(of_kind[0], len(of_kind)) for of_kind in steps.values()]

    def row_operations_at(self, step: int) -> int | None:
        """The operations for a row of the step, forward and backward (bar_model/operations.py); only MFU needs them.

        By default they are not known.
        """
        return None


BuildLearner = Callable[[Any, Mapping[str, Any], Ranks, torch.device], Learner]
"""(configuration, data, ranks, device) -> the learner; weights are drawn from torch's seeded generator."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training whose input has been read and checked.

    `data` travels to the workers through shared memory, where each value is `opened()`, and `build` makes the learner
    from it. `recipe` is all that determines the weights, except the model to begin with.
    """

    stage: str
    config: TrainingConfig
    build: BuildLearner
    data: Mapping[str, Any]
    recipe: Mapping[str, Any]
    inputs: Inputs


def take_step(learner: Learner, step: int, *, seed: int, rank: int, meter: Meter | None = None) -> StepResult:
    """Takes this rank's part of an optimizer step."""
    parts = learner.share.parts(step)
    seed_dropout(seed, step, rank)
    micro_batches = (learner.micro_batch(rows, step) for rows in parts)
    waited_for = micro_batches if meter is None else meter.waiting(micro_batches)
    return learner.trainee_at(step).learn(waited_for, num=len(parts), step=step)


def load_initial_weights(learner: Learner, config: TrainingConfig) -> None:
    """Gives the first trainee the weights of the model to begin with, where the configuration names one."""
    if config.init is not None:
        initial = load_initial(config.init, config.model)
        for model in learner.trainees[0].models():
            start_from(model, initial)
