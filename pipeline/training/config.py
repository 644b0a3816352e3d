"""The configuration that every training has: how long, how large, how often, and on what."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from bar_model.configuration import plain
from bar_model.errors import BadInput
from bar_model.generator.bar import BarConfig
from bar_model.tokenizer.tokenizer import TokenizerConfig
from pipeline.cluster import ClusterConfig
from pipeline.paths import InputUrl, OutputFolder
from pipeline.storage import absolute
from pipeline.tracking.start import TrackingConfig
from pipeline.training.step.batches import Share, Shuffle
from pipeline.training.step.ranks import Ranks
from pipeline.training.step.trainee import Precision

TRACED_STEPS = 3
"""Steps in a trace, after one that warms the profiler up."""


@dataclass(frozen=True, kw_only=True)
class Cadence:
    """What is done every so many steps and after the last one; 0 means only then. None of it changes a weight."""

    log_every: int = 50
    """Steps from one point of the curves to the next; a point is the mean over these steps."""
    validate_every: int = 0
    """Steps between validations on the held-out data."""
    picture_every: int = 0
    """Steps between grids of images, always with the same labels and seeds."""
    checkpoint_every: int = 0
    """Steps between checkpoints: so many are lost at most when everything is killed."""
    keep_checkpoints: int = 2
    """Number of newest checkpoints to keep; of the others, all except the best are removed."""
    keep_best: int = 1
    """Number of checkpoints to keep with the least validation loss, of those whose step was also validated."""
    trace_at: int = 0
    """Step after which torch's profiler traces a few, into `traces` below `out` and the tracked run; 0: no trace."""

    def __post_init__(self) -> None:
        if self.keep_checkpoints < 1 or self.keep_best < 0:
            raise BadInput(
                f"cadence.keep_checkpoints {self.keep_checkpoints} and keep_best {self.keep_best}: "
                "keep at least the newest one, and 0 or more of the best"
            )


@dataclass(frozen=True, kw_only=True)
class WorkersConfig:
    """Which workers compute the batch, and how. Nothing here changes the result, except by rounding."""

    num: int = 1
    """Number of workers that share a batch; with `max_num`, the smallest number."""
    max_num: int | None = None
    """Largest number of workers: as many as there are resources for, more or fewer while the training goes on."""
    gpu: bool = False
    """Whether each worker has a GPU."""
    cpus: int | None = None
    """CPUs, and threads, of each worker (else: an equal part of the cluster's)."""
    micro_batch: int | Literal["auto"] | None = None
    """Rows that a worker computes at once; gradients of several micro-batches add up (else: its whole share of the
    batch); auto: as many as fit into its memory."""
    compiled: bool = False
    """Whether the model's blocks are compiled, which takes minutes at the start and needs a C++ compiler."""
    recompute: bool = False
    """Whether blocks compute their activations twice instead of keeping them: less memory, a third more arithmetic."""
    sharded: bool = False
    """Whether weights, gradients and optimizer state are spread over the workers (FSDP): for large models."""
    max_failures: int = 3
    """How often workers that died are replaced; the training then goes on from the last checkpoint."""

    def __post_init__(self) -> None:
        if self.num < 1 or (self.cpus is not None and self.cpus < 1):
            raise BadInput(f"workers: {self.num} of {self.cpus} CPUs each; at least 1 is needed of both")
        if self.most < self.num:
            raise BadInput(f"workers.max_num {self.max_num}: must be at least workers.num, {self.num}")
        if isinstance(self.micro_batch, int) and self.micro_batch < 1:
            raise BadInput(f"workers.micro_batch {self.micro_batch}: at least 1 row is needed")
        if self.sharded and self.micro_batch == 1:
            raise BadInput("workers.micro_batch 1: sharded workers need at least 2, for equal numbers of micro-batches")

    @property
    def most(self) -> int:
        """The largest number of workers."""
        return self.num if self.max_num is None else self.max_num


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """What every training needs to know."""

    out: OutputFolder
    """Folder for the model (below `model`) and the checkpoints; the same command again goes on where it stopped."""
    steps: int
    """Optimizer steps of the whole run; all schedules are shares of it."""
    batch: int
    """Rows in a step, over all workers and micro-batches."""
    model: BarConfig | TokenizerConfig
    init: InputUrl | None = None
    """Model to begin with, a folder or a published .bin file, of any URL (else: weights drawn from the seed)."""
    seed: int = 0
    """Seed of the initial weights, the order of rows and every other random choice."""
    precision: Precision = "float32"
    """Precision of matrix products; weights and their averages are kept in float32."""
    resume: Literal["newest", "last-whole"] | None = None
    """`newest`: there has to be a checkpoint to go on from; `last-whole`: damaged newer ones are removed (else: goes on
    from the newest if there is one)."""
    dry_run: bool = False
    """Builds everything, trains for two steps, prints what they take and how long all steps would, leaves nothing."""
    cadence: Cadence = field(default_factory=Cadence)
    workers: WorkersConfig = field(default_factory=WorkersConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        for name in ("steps", "batch"):
            if getattr(self, name) < 1:
                raise BadInput(f"{name} {getattr(self, name)}: must be at least 1")
        if self.workers.most > self.batch:
            raise BadInput(f"batch {self.batch}: too small to be shared by {self.workers.most} workers")
        if self.cadence.trace_at and self.cadence.trace_at > self.steps - TRACED_STEPS - 1:
            raise BadInput(
                f"cadence.trace_at {self.cadence.trace_at}: a trace takes {TRACED_STEPS + 1} steps, and there are "
                f"{self.steps}"
            )
        if not 0 <= self.seed < 2**32:
            raise BadInput(f"seed {self.seed}: must be between 0 and {2**32 - 1}")

    def for_workers(self) -> Self:
        """The same with absolute paths, for workers in another working directory."""
        return dataclasses.replace(self, out=absolute(self.out), init=absolute(self.init))

    def share(self, num_rows: int, ranks: Ranks) -> Share:
        """A worker's share of every batch."""
        shuffle = Shuffle(num_rows=num_rows, batch=self.batch, seed=self.seed)
        given = self.workers.micro_batch
        micro_batch = None if given == "auto" else given  # Found out on the workers (micro_batch.py).
        return Share(shuffle=shuffle, worker=ranks.rank, num_workers=ranks.num, micro_batch=micro_batch)

    def recipe(self, *, besides: tuple[str, ...] = ()) -> dict[str, Any]:
        """All fields that determine the weights, as JSON values, without those named in `besides`."""
        free = {"out", "init", "resume", "dry_run", "cadence", "workers", "cluster", "tracking", *besides}
        fields = [each.name for each in dataclasses.fields(self) if each.name not in free]
        return {name: plain(getattr(self, name)) for name in fields}
