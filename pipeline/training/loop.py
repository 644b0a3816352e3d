"""The loop of a training in one of its workers: its steps, and what is due after each of them."""

import logging
import math
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pipeline.storage import Folder
from pipeline.tracking.run import Run
from pipeline.training.board import StepStatus
from pipeline.training.checkpoints.listing import SCORE
from pipeline.training.checkpoints.saver import Saver
from pipeline.training.checkpoints.state import check_state, load_state
from pipeline.training.config import TrainingConfig
from pipeline.training.learners.learner import Learner, take_step
from pipeline.training.meter import Meter
from pipeline.training.profiler import StepProfiler
from pipeline.training.sigterm import StopSignal
from pipeline.training.step.guard import SPIKE, Diverged, Guard
from pipeline.training.step.ranks import Ranks
from pipeline.training.step.trainee import StepResult

if TYPE_CHECKING:
    from ray import ObjectRef

logger = logging.getLogger(__name__)

STATUS_EVERY_S = 0.5


class Loop:
    """A training beside its learner: how many steps are done, how many were skipped, and what was measured."""

    def __init__(
        self, config: TrainingConfig, learner: Learner, ranks: Ranks, device: torch.device, run: Run | None, board: Any
    ) -> None:
        """A loop before its first step; `board` is the handle of a `Board`. All ranks have to call it together.

        Raises:
            Refused: a machine does not see the output folder.
        """
        self.learner = learner
        self.metrics: dict[str, float] = {}
        self._config = config
        self._run = run
        self._board = board
        self._ranks = ranks
        self._guard = Guard()
        self._steps: list[StepResult] = []
        self.done = self._checked = self._reported = 0
        self._meter = Meter(batch=config.batch, device=device, num_devices=ranks.num)
        self._profiler = StepProfiler(config, ranks, run)
        self._status = StepStatus(step=0)
        self._status_sent = 0.0
        self._answer: ObjectRef | None = None
        self._is_to_stop, self._stop_signal = False, StopSignal(ranks)
        self._scores: dict[str, float] = {}
        self._saver = ranks.together(lambda: Saver(Folder(config.out), ranks))

    def run(self) -> None:
        """Takes all steps that are left, or saves a checkpoint and returns when the driver requests a stop.

        Raises:
            Diverged: three steps in a row were skipped, since loss or gradient was not finite.
        """
        learner, cadence = self.learner, self._config.cadence
        for step in range(self.done, self._config.steps):
            seed, rank = self._config.seed, self._ranks.rank
            self._steps.append(take_step(learner, step, seed=seed, rank=rank, meter=self._meter))
            self.done, self._scores = step + 1, {}
            self._profiler.advance(self.done)
            if self._is_due(cadence.log_every):
                self._report()
            with self._meter.pausing(), self._uncompiled():
                if self._is_due(cadence.validate_every):
                    self._validate()
                if self._is_due(cadence.picture_every):
                    self._draw_progress()
                is_saved = self._is_due(cadence.checkpoint_every) or self.done == self._config.fall_begins
                if is_saved:
                    self._save()
            self._send_status()
            if self._stop_signal.exchange(self._is_to_stop):
                if not is_saved:
                    self._save()
                return

    def resume(self, folder: str) -> None:
        """Goes on from a checkpoint in a local folder.

        Raises:
            Refused: it is damaged, or belongs to another training.
        """
        kept = self._ranks.together(lambda: check_state(Folder(folder), contents=True))
        first = self.learner.micro_batch(self.learner.share.parts(0)[0], 0)
        for trainee in self.learner.trainees:
            trainee.num_updates = kept["num_updates"].get(trainee.name, 0)
            # Rehearsed before its state is loaded, since the rehearsal may change some.
            if trainee.num_updates:
                trainee.rehearse(first)
        self._ranks.together(lambda: load_state(Path(folder), self._tensors()))
        self._guard = Guard(**kept["guard"])
        self.metrics = _finite(kept["metrics"])
        self.done = self._checked = self._reported = kept["step"]
        self._meter.restart()

    def _tensors(self) -> dict[str, Tensor]:
        trainees = self.learner.trainees
        return {f"{each.name}/{name}": tensor for each in trainees for name, tensor in each.state_dict().items()}

    def _is_due(self, every: int) -> bool:
        return self.done == self._config.steps or (every > 0 and self.done % every == 0)

    def _report(self) -> None:
        """Logs means over the steps since the last report; here the worker waits for its device."""
        self._watch_losses()
        step = self.done - 1
        values = {f"train/{name}": value for name, value in self.learner.settings_at(step).items()}
        for trainee in self.learner.trainees:
            if found := trainee.report():
                found["learning_rate"] = trainee.learning_rate_at(step)
                values |= {f"{trainee.name}/{name}": value for name, value in found.items()}
        metered = self._meter.read([self.learner.row_operations_at(each) for each in range(self._reported, self.done)])
        counted = {"skipped_steps": float(self._guard.skipped), "loss_spikes": float(self._guard.spikes)}
        self._log(values | {f"train/{name}": value for name, value in (metered | counted).items()})
        loss = values.get(f"{self.learner.trainees[0].name}/loss", self._status.loss)
        self._status = StepStatus(step=self.done, loss=loss, rows_per_s=metered["rows_per_s"])
        self._reported = self.done

    def _watch_losses(self) -> None:
        """Counts the skipped steps and the spikes of the loss since the last call.

        Raises:
            Diverged: three steps in a row were skipped.
        """
        pairs = [torch.stack((step.finite.float(), step.loss)) for step in self._steps]
        found = torch.stack(pairs).tolist() if pairs else []
        for step, (good, loss) in enumerate(found, start=self._checked):
            if self._guard.count_step(bool(good)):
                raise Diverged(
                    f"loss or gradient was not finite in steps {step - 2} to {step} (rows of the last: "
                    f"{self._first_rows(step)}): the last checkpoint is older than these steps; lower the learning "
                    "rate, or look at these rows"
                )
            # Trainees that take turns have losses of their own; the first one's is watched.
            if good and self.learner.trainee_at(step) is self.learner.trainees[0]:
                deviation = self._guard.add_loss(loss)
                if deviation > SPIKE and self._leads:
                    text = "step %d: loss %.4g is %.0f standard deviations above the steps before (rows %s)"
                    logger.warning(text, step, loss, deviation, self._first_rows(step))
        self._steps, self._checked = [], self.done

    def _first_rows(self, step: int) -> str:
        return ", ".join(map(str, self.learner.share.shuffle.rows(step).indices[:8])) + ", …"

    def _log(self, values: dict[str, float]) -> None:
        self.metrics = _finite(self.metrics | values)
        if self._leads and self._run is not None:
            self._run.metrics(values, step=self.done)

    def _draw_progress(self) -> None:
        if self._run is not None and (picture := self.learner.draw()) is not None:
            self._run.image("progress", picture, step=self.done)

    def _validate(self) -> None:
        found = self.learner.validate()
        self._log({f"validation/{name}": value for name, value in found.items()})
        # A score belongs to a checkpoint of this very step.
        self._scores = {SCORE: found["loss"]} if math.isfinite(found.get("loss", math.nan)) else {}

    def _save(self) -> None:
        self._watch_losses()
        values = {
            "step": self.done,
            "guard": asdict(self._guard),
            "metrics": self.metrics,
            "num_updates": {trainee.name: trainee.num_updates for trainee in self.learner.trainees},
        }
        self._saver.save(self._tensors(), values, step=self.done, metrics=self.metrics | self._scores)

    def _send_status(self) -> None:
        """Sends the status to the board twice a second at most; the answer says whether to stop."""
        import ray

        if not self._leads:
            return
        if self._answer is not None and ray.wait([self._answer], timeout=0)[0]:
            self._is_to_stop, self._answer = ray.get(self._answer), None
        now = time.perf_counter()
        if now - self._status_sent >= STATUS_EVERY_S or self.done == self._config.steps:
            self._status_sent = now
            self._answer = self._board.report.remote(replace(self._status, step=self.done))

    def _uncompiled(self) -> AbstractContextManager[None]:
        """Switches compilation off: validation and drawing have other shapes, and each would be compiled."""
        return torch.compiler.set_stance("force_eager") if self._config.workers.compiled else nullcontext()

    @property
    def _leads(self) -> bool:
        return self._ranks.rank == 0


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """Those that JSON can hold and that can be compared; MLflow is sent the others, too."""
    return {name: value for name, value in metrics.items() if math.isfinite(value)}
