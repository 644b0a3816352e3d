"""A worker of a training, from what Ray Train gives it to the outcome that it returns to the driver."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from bar_model import checkpoint
from bar_model.blocks import arrange_blocks, check_compiler
from pipeline.execution.manifest import FileEntry
from pipeline.storage import Folder
from pipeline.tracking.address import RunAddress
from pipeline.tracking.run import Run
from pipeline.training.checkpoints.saver import local_checkpoint
from pipeline.training.config import TrainingConfig
from pipeline.training.learners.learner import BuildLearner, Learner, load_initial_weights
from pipeline.training.loop import Loop
from pipeline.training.micro_batch import fit_micro_batch
from pipeline.training.output import save_model
from pipeline.training.step.guard import Diverged
from pipeline.training.step.ranks import Ranks, Refused

if TYPE_CHECKING:
    from ray import ObjectRef


@dataclass(frozen=True, kw_only=True)
class WorkerTask:
    """What the driver gives to each worker."""

    config: TrainingConfig
    build: BuildLearner
    data: Mapping[str, "ObjectRef"]
    run: RunAddress | None
    board: Any
    """Handle of a `Board`."""
    num_threads: int


class Outcome(NamedTuple):
    """What a worker returns to the driver: what was measured last, and the model that it saved or why it saved none."""

    metrics: dict[str, float]
    fingerprint: str = ""
    files: tuple[FileEntry, ...] = ()
    diverged: str = ""
    refused: str = ""
    """Why the training can't load_initial_weights, or can't go on from its checkpoint."""
    stopped_after: int = 0
    """The step after which a checkpoint was saved and the training stopped, as the driver requested; else 0."""


def train_in_worker(job: WorkerTask) -> Outcome:
    """Trains from the last checkpoint to the end; the first rank saves the model."""
    from ray import train

    run = Run(job.run) if job.run is not None else None
    # Refusals are returned, since Ray Train replaces a worker that raises and begins again.
    try:
        learner, ranks, device = build_learner(job)
        loop = Loop(job.config, learner, ranks, device, run, job.board)
        if found := train.get_checkpoint():
            with local_checkpoint(found, Folder(job.config.out)) as folder:
                loop.resume(folder)
        loop.run()
    except Refused as error:
        return Outcome({}, refused=str(error))
    except Diverged as error:
        return Outcome({}, diverged=str(error))
    if loop.done < job.config.steps:
        return Outcome(loop.metrics, stopped_after=loop.done)
    model = loop.learner.result()
    if ranks.rank > 0:
        return Outcome(loop.metrics)
    if run is not None:
        run.flush()
    return Outcome(loop.metrics, checkpoint.fingerprint(model), save_model(model, Folder(job.config.out)))


def build_learner(job: WorkerTask) -> tuple[Learner, Ranks, torch.device]:
    """The learner as it is before the first step, with this worker's rank and device.

    Raises:
        Refused: a machine lacks a compiler, memory or data.
    """
    import ray
    from ray import train
    from ray.train.torch import get_device

    logging.getLogger().setLevel(logging.WARNING)  # Ray Train logs every checkpoint.
    context = train.get_context()
    ranks = Ranks(rank=context.get_world_rank(), num=context.get_world_size())
    device = get_device()
    torch.set_num_threads(job.num_threads)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    torch.manual_seed(job.config.seed)
    workers = job.config.workers
    if workers.compiled:
        ranks.together(check_compiler)
    data = ranks.together(lambda: {name: ray.get(reference).opened() for name, reference in job.data.items()})
    learner = job.build(job.config, data, ranks, device)
    load_initial_weights(learner, job.config)
    # Of the first trainee alone: one that only helps it is small.
    arrange_blocks(learner.trainees[0].model, compiled=workers.compiled, recompute=workers.recompute)
    if workers.micro_batch == "auto":
        chosen = fit_micro_batch(learner, ranks, device, workers_here=context.get_local_world_size())
        if ranks.rank == 0:
            print(f"workers.micro_batch: {chosen} rows at once", flush=True)
    return learner, ranks, device
