"""What is learned, a step of it, and a training that has been made ready."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from bar_model import checkpoint
from pipeline.execution.manifest import Inputs
from pipeline.training.config import TrainingConfig
from pipeline.training.initial_weights import load_initial, start_from
from pipeline.training.meter import Meter
from pipeline.training.step.batches import Rows, Share
from pipeline.training.step.ranks import Ranks
from pipeline.training.step.trainee import Player, Step, seed_dropout


class Learner(Protocol):
    """What is learned: one player, or several in turns. A step belongs to one of them."""

    share: Share

    def row_operations_at(self, step: int) -> int:
        """What a row of the step costs (bar_model/operations.py), forward and backward."""
        ...

    @property
    def players(self) -> Sequence[Player]: ...

    def player_at(self, step: int) -> Player:
        """Whose turn it is."""
        ...

    def kinds_of_steps(self) -> Sequence[tuple[int, int]]:
        """The first step of each kind, and how many of the kind there are: steps of a kind cost alike."""
        ...

    def micro_batch(self, rows: Rows, step: int) -> Sequence[Any]:
        """What the player's objective is called with."""
        ...

    def settings_at(self, step: int) -> dict[str, float]:
        """What is logged beside the player's own metrics."""
        ...

    def validate(self) -> dict[str, float]:
        """Metrics on what is held out; all ranks take part."""
        ...

    def picture(self) -> np.ndarray | None:
        """What it can do by now, to be looked at; all ranks take part, and the first one gets it."""
        ...

    def result(self) -> checkpoint.Model:
        """The model to be saved; all ranks take part."""
        ...


BuildLearner = Callable[[Any, Mapping[str, Any], Ranks, torch.device], Learner]
"""(configuration, data, ranks, device) -> the learner; weights are drawn from torch's seeded generator."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training whose input has been read and found good.

    `data` goes through shared memory to the workers, where each is `opened()`; `build` makes the learner from it there.
    `recipe` is all that determines the weights, but for the model to begin with.
    """

    stage: str
    config: TrainingConfig
    build: BuildLearner
    data: Mapping[str, Any]
    recipe: Mapping[str, Any]
    inputs: Inputs


def take_step(learner: Learner, step: int, *, seed: int, rank: int, meter: Meter | None = None) -> Step:
    """This rank's part of an optimizer step."""
    parts = learner.share.parts(step)
    seed_dropout(seed, step, rank)
    micro_batches = (learner.micro_batch(rows, step) for rows in parts)
    waited_for = micro_batches if meter is None else meter.waiting(micro_batches)
    return learner.player_at(step).learn(waited_for, num=len(parts), step=step)


def begin(learner: Learner, config: TrainingConfig) -> None:
    """Weights as they are before the first step: those of the model to begin with, where there is one."""
    if config.init is not None:
        initial = load_initial(config.init, config.model)
        for model in learner.players[0].models():
            start_from(model, initial)
