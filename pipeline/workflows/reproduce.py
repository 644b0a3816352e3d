"""Samples of a published checkpoint, drawn and evaluated as published, beside the published figures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated

import tyro

from bar_model.errors import BadInput
from bar_model.ranges import Seed
from pipeline.cluster import ClusterConfig
from pipeline.evaluation.evaluate_samples import EvaluateConfig, ImageCount, evaluate
from pipeline.evaluation.extract import ExtractConfig
from pipeline.evaluation.paper_results import PAPER_RESULTS
from pipeline.paths import InputUrl, OutputFolder, SourceUrl
from pipeline.reports.report import Goal, Report, Result, results_table
from pipeline.samples.sample import DrawingOptions, DrawingPrecision, SampleConfig, sample
from pipeline.storage import Folder
from pipeline.terminal import show
from pipeline.tracking.run import Run
from pipeline.tracking.start import TrackingConfig
from pipeline.workflows.stages import Workflow

STAGE = "reproduce"
TOLERANCES = {"fid": 0.03, "inception_score": 3.0, "sfid": 0.1, "precision": 0.005, "recall": 0.005}
"""The least tolerances: seeds move the second decimal of FID at 50,000 images, and Inception in torch differs from
the published evaluation's by 0.002 in FID and precision. If the seeds spread wider, the tolerance is 3 deviations."""


@dataclass(frozen=True, kw_only=True)
class ReproduceConfig(DrawingOptions):
    """Which checkpoint is to reach its published figures, with which weights and against which reference."""

    name: Annotated[str, tyro.conf.Suppress]
    """The published checkpoint, by its preset's name."""
    weights: InputUrl
    """Folder of the published checkpoints, generator/*.bin and tokenizer/*.bin, of any URL."""
    reference: SourceUrl
    """VIRTUAL_imagenet256_labeled.npz, or its sibling for 512 px."""
    out: OutputFolder
    """Folder for samples, features and the report; the same again goes on where it stopped."""
    generator: str | None = None
    """Generator's file in `weights` (else: the published one's), as for the tokenizer."""
    tokenizer: str | None = None
    seeds: tuple[Seed, ...] = (0, 1, 2)
    num_images: ImageCount = EvaluateConfig.num_images
    precision: DrawingPrecision = "float32"
    """Of the generator's products, keys and values. Published samples are float32's."""
    extract: ExtractConfig = field(default_factory=ExtractConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name not in PAPER_RESULTS:
            raise BadInput(f"name: {self.name!r}; figures are published for {', '.join(PAPER_RESULTS)}")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise BadInput(f"seeds: {' '.join(map(str, self.seeds)) or 'none'}; give at least one, each once")


def reproduce(config: ReproduceConfig, run: Run) -> bool:
    """Draws, evaluates and compares, inside a Ray session. Gives whether every published figure is met."""
    row, workflow, out = PAPER_RESULTS[config.name], Workflow(run), Folder(config.out)
    weights = Folder(config.weights)
    draws = [
        SampleConfig(
            generator=weights.path(config.generator or row.generator),
            tokenizer=weights.path(config.tokenizer or row.tokenizer),
            out=out.path(f"samples-{seed}"),
            num_images=config.num_images,
            seed=seed,
            precision=config.precision,
            **config.drawing_options,
        )
        for seed in config.seeds
    ]
    for draw in draws:
        workflow.stage(f"sample with seed {draw.seed}", sample, draw)
    report = workflow.stage(
        "evaluate",
        evaluate,
        EvaluateConfig(
            samples=tuple(draw.out for draw in draws),
            reference=config.reference,
            out=out.path("report"),
            features=out.path("features"),
            num_images=config.num_images,
            extract=config.extract,
        ),
    )
    results = compare(report, row.figures)
    run.metrics({f"{figure.name}_difference": value - row.figures[figure.name] for figure, value in results})
    reached = len(results) == len(row.figures) and all(result.is_met for result in results)
    run.tag("reproduced", reached)
    show(results_table(f"{config.name}, as published", results))
    for name in row.figures.keys() - {result.figure.name for result in results}:
        show(f"Not compared: {name}; the reference lacks what it takes.")
    show(f"{config.name}: {'reproduced' if reached else 'not reproduced'} within the tolerances above")
    return reached


def compare(report: Report, published: Mapping[str, float]) -> tuple[Result, ...]:
    """The figures of a report, means if there are several seeds, with the published ones as their goals."""
    values = {figure.name: value for figure, value in report.results}
    return tuple(
        Result(figure._replace(goal=Goal("near", published[figure.name], _tolerance(figure.name, values))), value)
        for figure, value in report.results
        if figure.name in published
    )


def _tolerance(name: str, values: Mapping[str, float]) -> float:
    spread = 3 * values[f"{name}_sd"] if f"{name}_sd" in values else 0.0
    return max(TOLERANCES[name], spread)


def _preset(name: str) -> ReproduceConfig:
    return ReproduceConfig(name=name, weights=tyro.MISSING, reference=tyro.MISSING, out=tyro.MISSING)


def _presets() -> dict[str, Callable[[], ReproduceConfig]]:
    presets: dict[str, Callable[[], ReproduceConfig]] = {}
    for name, row in PAPER_RESULTS.items():
        presets[name] = partial(_preset, name)
        presets[name].__doc__ = f"Published: {', '.join(f'{key} {value:g}' for key, value in row.figures.items())}."
    return presets


REPRODUCTION = _presets()
