"""From pictures to samples on one machine: every job of the pipeline in its turn, in one Ray session."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from rich import print as show
from rich.table import Table

from pipeline import presets
from pipeline.cluster import ClusterConfig
from pipeline.digits import write_digits
from pipeline.evaluate_digits import PICTURE, evaluate_digits
from pipeline.manifest import Manifest, open_stage
from pipeline.report import Report
from pipeline.sample import sample
from pipeline.storage import Folder
from pipeline.tokenize import tokenize
from pipeline.tracking import Run, TrackingConfig
from pipeline.train import train
from pipeline.train_tokenizer import train_tokenizer

STAGE = "quickstart"


@dataclass(frozen=True, kw_only=True)
class QuickstartConfig:
    """Where everything goes; what each stage does is in its job's preset `digits`."""

    out: str = "runs/quickstart"
    """Folder for pictures, models, codes, samples and the report; the same again goes on where it stopped."""
    seed: int = 0
    """Of the split of the pictures, of both trainings and of the samples."""
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


def digits() -> QuickstartConfig:
    """1,797 handwritten digits: from scans to 1,000 samples, in minutes on two cores."""
    return QuickstartConfig()


QUICKSTART: dict[str, Callable[[], QuickstartConfig]] = {"digits": digits}


def quickstart(config: QuickstartConfig, run: Run) -> Report:
    """Goes from the digits to the report on samples of them, inside a Ray session; finished stages are not repeated.

    Raises:
        BadInput: `config.out` was made with another seed.
    """
    out, seed, walk = Folder(config.out), config.seed, Walk(run)
    open_stage(out, STAGE, {"seed": seed})
    digits, codes, samples = out / "digits", out / "codes", out / "samples"

    walk.time("export digits", lambda: write_digits(digits.url, seed=seed))
    tokenizer = walk.stage(
        "train tokenizer",
        train_tokenizer,
        replace(
            presets.TOKENIZER_TRAINING["digits"](),
            source=digits.path("train"),
            held_out=digits.path("validation"),
            out=out.path("tokenizer"),
            seed=seed,
        ),
    ).model
    for split in ("train", "validation"):
        tokenizing = replace(
            presets.TOKENIZING["digits"](), source=digits.path(split), tokenizer=tokenizer, out=codes.path(split)
        )
        walk.stage(f"tokenize {split}", tokenize, tokenizing)
    generator = walk.stage(
        "train",
        train,
        replace(
            presets.TRAINING["digits"](),
            codes=codes.path("train"),
            held_out=codes.path("validation"),
            tokenizer=tokenizer,
            out=out.path("generator"),
            seed=seed,
        ),
    ).model
    guided = replace(
        presets.SAMPLING["digits"](),
        generator=generator,
        tokenizer=tokenizer,
        out=samples.path("guided"),
        seed=seed,
    )
    unguided = replace(guided, out=samples.path("unguided"), guidance_scale=1.0)
    walk.stage("sample with guidance", sample, guided)
    walk.stage("sample without guidance", sample, unguided)
    report = walk.stage(
        "evaluate",
        evaluate_digits,
        replace(
            presets.evaluate_digits(),
            samples=guided.out,
            unguided_samples=unguided.out,
            tokenizer=tokenizer,
            train=digits.path("train"),
            held_out=digits.path("test"),
            out=out.path("report"),
        ),
    )
    run.metrics({figure.name: value for figure, value in report.results})
    show(walk.table())
    print(f"Pictures: {(out / 'report').path(PICTURE)}")
    print(f"Every step behind them, in MLflow: make ui, experiment {run.experiment!r} of {run.uri}")
    return report


class StageConfig(Protocol):
    """What every job's configuration has."""

    @property
    def out(self) -> str: ...


Config = TypeVar("Config", bound=StageConfig)
Result = TypeVar("Result")


class Walk:
    """Stages one after another, each a child run, announced and timed."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._minutes: dict[str, float] = {}
        self._finished_before: set[str] = set()

    def stage(self, name: str, carry_out: Callable[[Config, Run], Result], config: Config) -> Result:
        """What the stage gives, done now or before."""
        if Manifest.newest(Folder(config.out)) is not None:
            self._finished_before.add(name)
        with self._run.child(name, config, out=config.out) as child:
            return self.time(name, lambda: carry_out(config, child))

    def time(self, name: str, carry_out: Callable[[], Result]) -> Result:
        """What it gives; its name is shown, and its minutes are kept."""
        show(f"\n[bold]{name}[/]{' (finished before)' if name in self._finished_before else ''}")
        start = time.monotonic()
        result = carry_out()
        self._minutes[name] = (time.monotonic() - start) / 60
        self._run.metrics({f"minutes/{name}": self._minutes[name]})
        return result

    def table(self) -> Table:
        """Minutes a stage, and all together; stages that were finished before have none."""
        table = Table(title="Minutes", title_justify="left", title_style="bold", show_footer=True)
        table.add_column("", footer="all")
        table.add_column("minutes", justify="right", footer=f"{sum(self._minutes.values()):.1f}")
        for name, minutes in self._minutes.items():
            table.add_row(name, "before" if name in self._finished_before else f"{minutes:.1f}")
        return table
