"""From images to judged samples on one machine: every stage of the pipeline, in one Ray session."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from bar_model.ranges import Seed, check_ranges
from pipeline.cluster import ClusterConfig
from pipeline.codes.tokenize import tokenize
from pipeline.digits.data import write_digits
from pipeline.digits.evaluate_digits import PICTURE, evaluate_digits
from pipeline.execution.manifest import open_stage
from pipeline.paths import OutputFolder
from pipeline.presets.evaluation import digits_evaluation
from pipeline.presets.sampling import SAMPLING
from pipeline.presets.tokenizer_training import TOKENIZER_TRAINING
from pipeline.presets.tokenizing import TOKENIZING
from pipeline.presets.training import TRAINING
from pipeline.reports.report import Report
from pipeline.samples.sample import sample
from pipeline.storage import Folder
from pipeline.terminal import show
from pipeline.tracking.run import Run
from pipeline.tracking.start import TrackingConfig
from pipeline.training.train_generator import train
from pipeline.training.train_tokenizer import train_tokenizer
from pipeline.workflows.stages import Workflow

STAGE = "quickstart"


@dataclass(frozen=True, kw_only=True)
class QuickstartConfig:
    """Where everything goes. What each stage does is in the preset `digits` of its job."""

    out: OutputFolder = "runs/quickstart"
    """Folder for pictures, models, codes, samples and the report; the same again goes on where it stopped."""
    seed: Seed = 0
    """Of the split of the pictures, of both trainings and of the samples."""
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        check_ranges(self)


def quickstart_digits() -> QuickstartConfig:
    """1,797 handwritten digits: from scans to 1,000 samples, in minutes on two cores."""
    return QuickstartConfig()


QUICKSTART: dict[str, Callable[[], QuickstartConfig]] = {"digits": quickstart_digits}


def quickstart(config: QuickstartConfig, run: Run) -> Report:
    """Carries out all stages from the digits to the report, inside a Ray session. Finished stages are not repeated.

    The folder may have been copied or moved as a whole: its pictures are those that it had elsewhere.

    Raises:
        BadInput: `config.out` was made with another seed.
    """
    out, seed, workflow = Folder(config.out), config.seed, Workflow(run)
    open_stage(out, STAGE, {"seed": seed})
    images, codes, samples = out / "digits", out / "codes", out / "samples"

    workflow.time("export digits", lambda: write_digits(images.url, seed=seed))
    tokenizer = workflow.stage(
        "train tokenizer",
        train_tokenizer,
        replace(
            TOKENIZER_TRAINING["digits"](),
            source=images.path("train"),
            source_moved=True,
            held_out=images.path("validation"),
            out=out.path("tokenizer"),
            seed=seed,
        ),
    ).model
    for split in ("train", "validation"):
        tokenizing = replace(
            TOKENIZING["digits"](),
            source=images.path(split),
            source_moved=True,
            tokenizer=tokenizer,
            out=codes.path(split),
        )
        workflow.stage(f"tokenize {split}", tokenize, tokenizing)
    generator = workflow.stage(
        "train",
        train,
        replace(
            TRAINING["digits"](),
            codes=codes.path("train"),
            held_out=codes.path("validation"),
            tokenizer=tokenizer,
            out=out.path("generator"),
            seed=seed,
        ),
    ).model
    guided = replace(
        SAMPLING["digits"](),
        generator=generator,
        tokenizer=tokenizer,
        out=samples.path("guided"),
        seed=seed,
    )
    unguided = replace(guided, out=samples.path("unguided"), guidance_scale=1.0)
    workflow.stage("sample with guidance", sample, guided)
    workflow.stage("sample without guidance", sample, unguided)
    report = workflow.stage(
        "evaluate",
        evaluate_digits,
        replace(
            digits_evaluation(),
            samples=guided.out,
            unguided_samples=unguided.out,
            tokenizer=tokenizer,
            train=images.path("train"),
            held_out=images.path("test"),
            out=out.path("report"),
        ),
    )
    run.metrics({figure.name: value for figure, value in report.results})
    show(workflow.table())
    print(f"Pictures: {(out / 'report').path(PICTURE)}")
    print(f"Every step behind them, in MLflow: make ui, experiment {run.experiment!r} of {run.uri}")
    return report
