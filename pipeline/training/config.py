"""The configuration that every training has: how long, how large, how often, and on what."""

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

from bar_model.configuration import plain
from bar_model.errors import BadInput
from bar_model.generator.bar import BarConfig
from bar_model.ranges import Count, Positive, Range, Seed, check_ranges
from bar_model.tokenizer.tokenizer import TokenizerConfig
from pipeline.cluster import ClusterConfig
from pipeline.paths import InputUrl, OutputFolder
from pipeline.storage import absolute
from pipeline.tracking.start import TrackingConfig
from pipeline.training.step.batches import Share, Shuffle
from pipeline.training.step.optimizer import OptimizationConfig
from pipeline.training.step.ranks import Ranks
from pipeline.training.step.trainee import Precision

TRACED_STEPS = 3
"""Steps in a trace, after one that warms the profiler up."""

Workers = Annotated[int, Range(least=1, most=100_000)]
"""A number of workers, or of the CPUs of one."""


@dataclass(frozen=True, kw_only=True)
class Cadence:
    """What is done every so many steps and after the last one; 0 means only then. None of it changes a weight."""

    log_every: Count = 50
    """Steps from one point of the curves to the next; a point is the mean over these steps."""
    validate_every: Count = 0
    """Steps between validations on the held-out data."""
    picture_every: Count = 0
    """Steps between grids of images, always with the same labels and seeds."""
    checkpoint_every: Count = 0
    """Steps between checkpoints: so many are lost at most when everything is killed."""
    keep_checkpoints: Positive = 2
    """Number of newest checkpoints to keep; of the others, all except the best are removed."""
    keep_best: Count = 1
    """Number of checkpoints to keep with the least validation loss, of those whose step was also validated."""
    trace_at: Count = 0
    """Step after which torch's profiler traces a few, into `traces` below `out` and the tracked run; 0: no trace."""

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class WorkersConfig:
    """Which workers compute the batch, and how. Nothing here changes the result, except by rounding."""

    num: Workers = 1
    """Number of workers that share a batch; with `max_num`, the smallest number."""
    max_num: Workers | None = None
    """Largest number of workers: as many as there are resources for, more or fewer while the training goes on."""
    gpu: bool = False
    """Whether each worker has a GPU."""
    cpus: Workers | None = None
    """CPUs, and threads, of each worker (else: an equal part of the cluster's)."""
    micro_batch: Positive | Literal["auto"] | None = None
    """Rows that a worker computes at once; gradients of several micro-batches add up (else: its whole share of the
    batch); auto: as many as fit into its memory."""
    compiled: bool = False
    """Whether the model's blocks are compiled, which takes minutes at the start and needs a C++ compiler."""
    recompute: bool = False
    """Whether blocks compute their activations twice instead of keeping them: less memory, a third more arithmetic."""
    sharded: bool = False
    """Whether weights, gradients and optimizer state are spread over the workers (FSDP): for large models."""
    max_failures: Count = 3
    """How often workers that died are replaced; the training then goes on from the last checkpoint."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.most < self.num:
            raise BadInput(f"workers.max_num {self.max_num}: must be at least workers.num, {self.num}")
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
    steps: Annotated[int, Range(least=1, most=10**9)]
    """Optimizer steps of the whole run; all schedules are shares of it."""
    batch: Annotated[int, Range(least=1, most=10**7)]
    """Rows in a step, over all workers and micro-batches."""
    model: BarConfig | TokenizerConfig
    optimization: OptimizationConfig
    schedule_steps: Annotated[int, Range(least=1, most=10**9)] | None = None
    """Steps that all schedules are shares of; later ones are as the last of these (else: `steps`)."""
    init: InputUrl | None = None
    """Model to begin with, a folder or a published .bin file, of any URL (else: weights drawn from the seed)."""
    seed: Seed = 0
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
        check_ranges(self)
        if self.horizon > self.steps:
            raise BadInput(f"schedule_steps {self.schedule_steps}: must not be above steps, {self.steps}")
        if self.workers.most > self.batch:
            raise BadInput(f"batch {self.batch}: too small to be shared by {self.workers.most} workers")
        if self.cadence.trace_at and self.cadence.trace_at > self.steps - TRACED_STEPS - 1:
            raise BadInput(
                f"cadence.trace_at {self.cadence.trace_at}: a trace takes {TRACED_STEPS + 1} steps, and there are "
                f"{self.steps}"
            )

    @property
    def horizon(self) -> int:
        """The steps that schedules are shares of."""
        return self.schedule_steps or self.steps

    @property
    def fall_begins(self) -> int | None:
        """The steps that are done when the learning rate begins its fall to the end, without which it can go on.

        None where it does not fall, or falls from the beginning.
        """
        if self.optimization.schedule != "warmup-stable-decay":
            return None
        return max(1, self.steps - int(self.optimization.decay * self.horizon))

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
        recipe = {name: plain(getattr(self, name)) for name in fields}
        # Left out where they say nothing: recipes of trainings from before there were these fields stay as they are.
        recipe["optimization"] = self.optimization.recipe()
        del recipe["schedule_steps"]
        return {**recipe, **self.recipe_of_steps()}

    def recipe_of_steps(self) -> dict[str, Any]:
        """The fields of a recipe that say how many steps there are, as JSON values."""
        return {"steps": self.steps, **({} if self.horizon == self.steps else {"schedule_steps": self.horizon})}
