"""A training in one of its workers: steps, and what is due after them."""

import hashlib
import logging
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch

from bar_model import checkpoint
from bar_model.blocks import arrange_blocks
from pipeline.batches import Rows, Share
from pipeline.board import Note
from pipeline.initial import load_initial, start_from
from pipeline.manifest import FileEntry
from pipeline.meter import Meter
from pipeline.players import SPIKE, Diverged, Guard, Player, Ranks, Step, seed_dropout
from pipeline.snapshots import checkpoint_name, read_state, write_state
from pipeline.storage import Folder
from pipeline.tracer import Tracer
from pipeline.tracking import Run
from pipeline.training import TrainingConfig

if TYPE_CHECKING:
    from ray import ObjectRef

logger = logging.getLogger(__name__)

MODEL = "model"
"""Folder of the finished model, below the output folder."""
MODEL_FILES = ("model.safetensors", "config.json")
NOTE_EVERY_S = 0.5


class Learner(Protocol):
    """What is learned: one player, or several in turns. A step belongs to one of them."""

    share: Share

    @property
    def row_operations(self) -> int | None:
        """What a row costs forward and backward, where that is counted."""
        ...

    @property
    def players(self) -> Sequence[Player]: ...

    def player_at(self, step: int) -> Player:
        """Whose turn it is."""
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
        """What it can do by now, to be looked at."""
        ...

    def result(self) -> checkpoint.Model:
        """The model to be saved."""
        ...


BuildLearner = Callable[[Any, Mapping[str, Any], Ranks, torch.device], Learner]
"""(configuration, data, ranks, device) -> the learner; weights are drawn from torch's seeded generator."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker gets to know."""

    config: TrainingConfig
    build: BuildLearner
    data: Mapping[str, "ObjectRef"]
    run: Run | None
    board: Any
    """Handle of a `Board`."""
    num_threads: int


class Outcome(NamedTuple):
    """What the first rank tells the driver: what was measured last, and the model that it saved or why it did not."""

    metrics: dict[str, float]
    fingerprint: str = ""
    files: tuple[FileEntry, ...] = ()
    diverged: str = ""


def work(job: Job) -> Outcome:
    """From the last checkpoint to the end; the first rank saves the model."""
    from ray import train

    learner, ranks, device = built(job)
    loop = Loop(job, learner, ranks, device)
    if found := train.get_checkpoint():
        with found.as_directory() as folder:
            loop.resume(read_state(Path(folder), device))
    try:
        loop.run()
    except Diverged as error:
        # All ranks come to this together. Returned, since Ray Train would replace workers that raise.
        return Outcome(loop.metrics, diverged=str(error))
    if ranks.rank > 0:
        return Outcome(loop.metrics)
    if job.run is not None:
        job.run.flush()
    model = loop.learner.result()
    return Outcome(loop.metrics, checkpoint.fingerprint(model), save_model(model, Folder(job.config.out)))


def built(job: Job) -> tuple[Learner, Ranks, torch.device]:
    """The learner in its worker, before the first step."""
    import ray
    from ray import train
    from ray.train.torch import get_device

    logging.getLogger().setLevel(logging.WARNING)  # Ray Train tells the terminal of every checkpoint.
    context = train.get_context()
    ranks = Ranks(rank=context.get_world_rank(), num=context.get_world_size())
    device = get_device()
    torch.set_num_threads(job.num_threads)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    torch.manual_seed(job.config.seed)
    data = {name: ray.get(reference) for name, reference in job.data.items()}
    learner = job.build(job.config, data, ranks, device)
    begin(learner, job.config)
    # What is learned; a player that helps it is small.
    workers = job.config.workers
    arrange_blocks(learner.players[0].model, compiled=workers.compiled, recompute=workers.recompute)
    return learner, ranks, device


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


class Loop:
    """What a training is beside its learner: how many steps are done, how many were skipped, what was measured."""

    def __init__(self, job: Job, learner: Learner, ranks: Ranks, device: torch.device) -> None:
        self.learner = learner
        self.metrics: dict[str, float] = {}
        self._config = job.config
        self._run = job.run
        self._board = job.board
        self._ranks = ranks
        self._guard = Guard()
        self._steps: list[Step] = []
        self._done = self._checked = self._reported = 0
        self._meter = Meter(
            batch=job.config.batch, row_operations=learner.row_operations, device=device, num_devices=ranks.num
        )
        self._tracer = Tracer(job.config, ranks, job.run)
        self._note = Note(step=0)
        self._noted = 0.0
        self._attempt = uuid.uuid4().hex[:8]

    def run(self) -> None:
        """All steps that are left.  Raises: Diverged."""
        learner, cadence = self.learner, self._config.cadence
        for step in range(self._done, self._config.steps):
            seed, rank = self._config.seed, self._ranks.rank
            self._steps.append(take_step(learner, step, seed=seed, rank=rank, meter=self._meter))
            self._done = step + 1
            self._tracer.advance(self._done)
            if self._is_due(cadence.log_every):
                self._report()
            with self._meter.pausing(), self._uncompiled():
                if self._is_due(cadence.validate_every):
                    self._log({f"validation/{name}": value for name, value in learner.validate().items()})
                if self._is_due(cadence.picture_every):
                    self._draw()
                if self._is_due(cadence.checkpoint_every):
                    self._save()
            self._tell()

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from what `_save` wrote."""
        first = self.learner.micro_batch(self.learner.share.parts(0)[0], 0)
        for player in self.learner.players:
            kept = state["players"][player.name]
            # Rehearsed before its state is loaded, since the rehearsal may change some.
            if kept["num_updates"]:
                player.rehearse(first)
            player.load_state_dict(kept)
        self._guard = Guard(**state["guard"])
        self.metrics = state["metrics"]
        self._done = self._checked = self._reported = state["step"]
        self._meter.restart()

    def _is_due(self, every: int) -> bool:
        return self._done == self._config.steps or (every > 0 and self._done % every == 0)

    def _report(self) -> None:
        """The means of the steps since the last report; here the worker waits for its device."""
        self._check_finite()
        step = self._done - 1
        values = {f"train/{name}": value for name, value in self.learner.settings_at(step).items()}
        for player in self.learner.players:
            if found := player.report():
                found["learning_rate"] = player.learning_rate_at(step)
                values |= {f"{player.name}/{name}": value for name, value in found.items()}
        metered = self._meter.read(self._done - self._reported)
        counted = {"skipped_steps": float(self._guard.skipped), "loss_spikes": float(self._guard.spikes)}
        self._log(values | {f"train/{name}": value for name, value in (metered | counted).items()})
        loss = values.get(f"{self.learner.players[0].name}/loss", self._note.loss)
        self._note = Note(step=self._done, loss=loss, rows_per_s=metered["rows_per_s"])
        self._reported = self._done

    def _check_finite(self) -> None:
        """Count the steps that were skipped since this was last asked, and the losses that leapt.

        Raises: Diverged at the third skipped in a row.
        """
        pairs = [torch.stack((step.finite.float(), step.loss)) for step in self._steps]
        found = torch.stack(pairs).tolist() if pairs else []
        for step, (good, loss) in enumerate(found, start=self._checked):
            if self._guard.is_third_bad(bool(good)):
                raise Diverged(
                    f"loss or gradient was not finite in steps {step - 2} to {step} (rows of the last: "
                    f"{self._first_rows(step)}): the last checkpoint is from before; lower the learning rate, or look "
                    "at these rows"
                )
            # Players that take turns have losses of their own: it is the first one's that is watched.
            if good and self.learner.player_at(step) is self.learner.players[0]:
                deviation = self._guard.deviation(loss)
                if deviation > SPIKE and self._leads:
                    text = "step %d: loss %.4g is %.0f standard deviations above the steps before (rows %s)"
                    logger.warning(text, step, loss, deviation, self._first_rows(step))
        self._steps, self._checked = [], self._done

    def _first_rows(self, step: int) -> str:
        return ", ".join(map(str, self.learner.share.shuffle.rows(step).indices[:8])) + ", …"

    def _log(self, values: dict[str, float]) -> None:
        self.metrics |= values
        if self._leads and self._run is not None:
            self._run.metrics(values, step=self._done)

    def _draw(self) -> None:
        if self._leads and self._run is not None and (picture := self.learner.picture()) is not None:
            self._run.figure("progress", picture, step=self._done)

    def _save(self) -> None:
        """Hand a checkpoint to Ray Train, which all ranks have to do together."""
        from ray import train

        self._check_finite()
        with tempfile.TemporaryDirectory() as folder:
            kept = None
            if self._leads:
                state = {
                    "step": self._done,
                    "guard": asdict(self._guard),
                    "metrics": self.metrics,
                    "players": {player.name: player.state_dict() for player in self.learner.players},
                }
                write_state(state, Path(folder))
                kept = train.Checkpoint.from_directory(folder)
            name = checkpoint_name(self._done, self._attempt)
            train.report({"step": self._done, **self.metrics}, checkpoint=kept, checkpoint_dir_name=name)

    def _tell(self) -> None:
        """Leave a note for whoever watches, now and then."""
        now = time.perf_counter()
        if self._leads and (now - self._noted >= NOTE_EVERY_S or self._done == self._config.steps):
            self._noted = now
            self._board.write.remote(replace(self._note, step=self._done))

    def _uncompiled(self) -> AbstractContextManager[None]:
        """For what has shapes of its own, of which each would be compiled."""
        return torch.compiler.set_stance("force_eager") if self._config.workers.compiled else nullcontext()

    @property
    def _leads(self) -> bool:
        return self._ranks.rank == 0


def save_model(model: checkpoint.Model, out: Folder) -> tuple[FileEntry, ...]:
    """On a disk as in an object store; its configuration last, without which it is no model."""
    with tempfile.TemporaryDirectory() as scratch:
        draft = Path(scratch) / MODEL
        checkpoint.save(model, draft)
        return tuple(write_file(out, f"{MODEL}/{name}", (draft / name).read_bytes()) for name in MODEL_FILES)


def write_file(out: Folder, name: str, data: bytes) -> FileEntry:
    out.write(name, data)
    return FileEntry(name, unit="", rows=0, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
