"""The generator in training, on codes: its configuration, loss, batches, validation and images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import torch

from bar_model.checkpoint import load_tokenizer
from bar_model.generator.bar import Bar, BarConfig
from bar_model.heads.head import NUM_RATIO_BUCKETS
from bar_model.operations import training_operations
from bar_model.ranges import ShareBelowOne
from bar_model.tokenizer.tokenizer import Tokenizer
from pipeline.codes.mapped import MappedCodes
from pipeline.codes.table import Codes
from pipeline.images.codec import from_model, to_grid
from pipeline.paths import InputUrl
from pipeline.storage import absolute, local_copy
from pipeline.training.config import TrainingConfig
from pipeline.training.learners.learner import Learner
from pipeline.training.learners.order_annealing import OrderAnnealing
from pipeline.training.step.batches import CodeBatch, Rows, code_batch
from pipeline.training.step.ranks import Ranks
from pipeline.training.step.trainee import LossSums, Objective, Trainee, autocast

TRAINEE = "train"
"""Name of the trainee in checkpoints and metrics."""
DRAWN_CLASSES, IMAGES_A_CLASS = 10, 2


CodeSource = Codes | MappedCodes


@dataclass(frozen=True, kw_only=True)
class TrainConfig(TrainingConfig):
    """Which generator is trained on which codes, and how."""

    codes: InputUrl
    """Folder of codes: a path, s3://… or hf://…"""
    held_out: InputUrl | None = None
    """Folder of codes, by the same tokenizer, that the validation loss is of."""
    codes_cache: str | None = None
    """Folder on each machine's own disk for codes larger than memory, mapped from there (else: Ray's object store)."""
    tokenizer: InputUrl | None = None
    """The tokenizer that made the codes, to draw pictures on the way (else: none)."""
    model: BarConfig
    order: OrderAnnealing = field(default_factory=OrderAnnealing)
    class_dropout: ShareBelowOne = 0.1
    """Share of rows whose class is dropped: guidance compares with the prediction without a class."""

    def for_workers(self) -> Self:
        """The same with absolute paths, for workers in another working directory."""
        return replace(super().for_workers(), tokenizer=absolute(self.tokenizer))


class GeneratorObjective(Objective):
    """The training loss of BAR, whose random choices are functions of (seed, epoch, row)."""

    num_parts = 2 * NUM_RATIO_BUCKETS
    entry = "loss"

    def __init__(self, bar: Bar, *, seed: int, class_dropout: float) -> None:
        super().__init__()
        self.bar = bar
        self._seed = seed
        self._class_dropout = class_dropout

    def forward(self, batch: CodeBatch, order_randomness: float) -> LossSums:
        """The loss of a batch; `order_randomness` is the probability of a random order."""
        chance = self.bar.training_draw(
            batch.rows,
            batch.epochs,
            seed=self._seed,
            order_randomness=order_randomness,
            class_dropout=self._class_dropout,
        )
        loss = self.bar.loss(batch.bits, batch.labels, chance)
        return LossSums(loss.total, loss.weight, torch.cat((loss.correct, loss.counted)))

    def metrics(self, weight: float, parts: Sequence[float]) -> dict[str, float]:
        """The share of masked bits that are predicted right: of all bits, and by mask ratio in tenths."""
        correct, counted = parts[:NUM_RATIO_BUCKETS], parts[NUM_RATIO_BUCKETS:]
        by_ratio = {
            f"bit_accuracy_at/{(bucket + 1) / NUM_RATIO_BUCKETS}": correct[bucket] / counted[bucket]
            for bucket in range(NUM_RATIO_BUCKETS)
            if counted[bucket]
        }
        return {"bit_accuracy": sum(correct) / sum(counted), **by_ratio}


class GeneratorLearner(Learner):
    """The learner with one trainee, the generator."""

    def __init__(self, config: TrainConfig, data: Mapping[str, CodeSource], ranks: Ranks, device: torch.device) -> None:
        self._config = config
        self._codes = data["codes"].opened()
        self._held_out = data["held_out"].opened() if "held_out" in data else None
        self._ranks = ranks
        self._device = device
        bar = Bar(config.model).to(device)
        objective = GeneratorObjective(bar, seed=config.seed, class_dropout=config.class_dropout)
        self._trainee = Trainee(
            TRAINEE,
            bar,
            objective,
            config.optimization,
            steps=range(config.steps),
            horizon=config.horizon,
            ranks=ranks,
            precision=config.precision,
            sharded=config.workers.sharded,
        )
        self.trainees = (self._trainee,)
        self.share = config.share(len(self._codes.labels), ranks)
        self._row_operations = training_operations(bar)
        self._tokenizer: Tokenizer | None = None
        if config.tokenizer is not None and ranks.rank == 0:
            self._tokenizer = load_tokenizer(local_copy(config.tokenizer), device=device, decode_only=True)

    def row_operations_at(self, step: int) -> int:
        """The operations for a row, which are the same in every step."""
        return self._row_operations

    def micro_batch(self, rows: Rows, step: int) -> tuple[CodeBatch, float]:
        """The codes of some rows, and the probability of a random order in this step."""
        batch = code_batch(self._codes, rows, self._config.model.codes, self._device)
        return batch, self._config.order.randomness_at(step, self._config.horizon)

    def settings_at(self, step: int) -> dict[str, float]:
        """The probability of a random order."""
        return {"order_randomness": self._config.order.randomness_at(step, self._config.horizon)}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Loss and bit accuracy on the held-out codes, in raster order, with the same masks each time."""
        if self._held_out is None:
            return {}
        objective = GeneratorObjective(self.result(), seed=self._config.seed, class_dropout=0.0).eval()
        sums = torch.zeros(2 + objective.num_parts, device=self._device)
        for rows in self.share.all_once(len(self._held_out.labels)):
            batch = code_batch(self._held_out, rows, self._config.model.codes, self._device)
            with autocast(self._device, self._config.precision):
                total, weight, parts = objective(batch, 0.0)
            sums += torch.cat((torch.stack((total, weight)), parts))
        total, weight, *parts = self._ranks.sum(sums).tolist()
        return {"loss": total / weight, **objective.metrics(weight, parts)}

    def draw(self) -> np.ndarray | None:
        """Images drawn with the same noise each time, one column for a class: without guidance, and below with it."""
        model = self.result().eval()
        if self._tokenizer is None:
            return None
        num_classes = self._config.model.num_classes
        columns = torch.linspace(0, num_classes - 1, min(DRAWN_CLASSES, num_classes)).long()
        labels = columns.repeat(IMAGES_A_CLASS).to(self._device)
        guided = self._config.model.sampling
        bits = [
            model.generate(labels, seed=self._config.seed, sampling=sampling)
            for sampling in (replace(guided, guidance_scale=1.0), guided)
        ]
        return to_grid(from_model(self._tokenizer.decode(torch.cat(bits))), columns=len(columns))

    def result(self) -> Bar:
        """The generator, or its average where there is one, with all of its weights."""
        model = self._trainee.evaluated()
        assert isinstance(model, Bar)
        return model
