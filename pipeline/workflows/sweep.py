"""Guidance × temperature × allocation over one checkpoint: many settings on few samples, the best of them on more."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import tyro

from bar_model.configuration import json_file
from bar_model.errors import BadInput
from bar_model.generator.sampling import GuidanceScale, Sampling, Temperature
from bar_model.ranges import Positive, Seed
from pipeline.cluster import ClusterConfig
from pipeline.evaluation.compare import comparison_table, ranked
from pipeline.evaluation.evaluate_samples import EvaluateConfig, ImageCount, evaluate
from pipeline.evaluation.extract import ExtractConfig
from pipeline.paths import InputUrl, OutputFolder, SourceUrl
from pipeline.reports.report import Report
from pipeline.samples.sample import DrawingOptions, SampleConfig, sample
from pipeline.storage import Folder
from pipeline.terminal import show
from pipeline.tracking.run import Run
from pipeline.tracking.start import TrackingConfig
from pipeline.workflows.stages import Workflow

STAGE = "sweep"
FINAL_SEEDS = (0, 1, 2)
"""The seeds of final reports. No setting may be chosen by them."""


@dataclass(frozen=True, kw_only=True)
class SweepConfig(DrawingOptions):
    """Which settings are tried, on what, and on how many samples."""

    generator: InputUrl
    """Generator and tokenizer, as for sampling."""
    tokenizer: InputUrl
    reference: SourceUrl
    """Npz file or folder of pictures, as for evaluation."""
    out: OutputFolder
    """Folder for samples, features and reports; the same again goes on where it stopped."""
    guidance_scales: tuple[GuidanceScale, ...]
    temperatures: tuple[Temperature, ...]
    allocations: tuple[str, ...]
    """Bits that each unmasking step decides, such as 2,2,5,7."""
    num_images: ImageCount = 5000
    """Samples of every setting."""
    finalists: Positive = 3
    """Settings that go on to `final_images` samples, by their FID on the few."""
    final_images: ImageCount = 20_000
    seed: Seed = 1000
    """Seed of all samples; not one of those of final reports, since settings are chosen by it."""
    extract: ExtractConfig = field(default_factory=ExtractConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seed in FINAL_SEEDS:
            raise BadInput(f"seed: {self.seed}; settings must not be chosen by a seed of final reports: take another")
        if self.finalists > len(self.settings):
            raise BadInput(f"finalists: {self.finalists}; there are no more than {len(self.settings)} settings")

    @property
    def settings(self) -> dict[str, Sampling]:
        """The settings that are tried, by names that folders and curves also have."""
        grid = itertools.product(self.guidance_scales, self.temperatures, self.allocations)
        return {
            f"guidance {guidance:g} temperature {temperature:g} bits {allocation.replace(',', '.')}": Sampling(
                guidance_scale=guidance, temperature=temperature, allocation=_allocation(allocation)
            )
            for guidance, temperature, allocation in grid
        }


def sweep(config: SweepConfig, run: Run) -> str:
    """Tries all settings, then the best of them on more samples, inside a Ray session. Gives the name of the best."""
    workflow = Workflow(run)
    tried = _round(config, config.settings, config.num_images, workflow, run)
    best = ranked(tried)[: config.finalists]
    finals = _round(config, {name: config.settings[name] for name in best}, config.final_images, workflow, run)
    winner = ranked(finals)[0]
    setting = config.settings[winner]
    run.tag("best", winner)
    show(
        f"Best: {winner}. Its FID is the minimum of many: measure it again with other seeds "
        f"({', '.join(map(str, FINAL_SEEDS))}), by --guidance-scale {setting.guidance_scale:g} "
        f"--temperature {setting.temperature:g} --allocation {' '.join(map(str, setting.allocation))}"
    )
    return winner


def _round(
    config: SweepConfig, settings: Mapping[str, Sampling], num_images: int, workflow: Workflow, run: Run
) -> dict[str, Report]:
    out = Folder(config.out)
    reports = {}
    for name, setting in settings.items():
        place = out / f"{num_images}/{name.replace(' ', '-')}"
        draw = SampleConfig(
            generator=config.generator,
            tokenizer=config.tokenizer,
            out=place.path("samples"),
            num_images=num_images,
            seed=config.seed,
            guidance_scale=setting.guidance_scale,
            temperature=setting.temperature,
            allocation=setting.allocation,
            features=True,
            networks=config.extract.networks,
            **config.drawing_options,
        )
        workflow.stage(f"sample {num_images}: {name}", sample, draw)
        fid_report = EvaluateConfig(
            samples=(draw.out,),
            reference=config.reference,
            out=place.path("report"),
            features=out.path("features"),
            num_images=num_images,
            extract=config.extract,
        )
        reports[name] = workflow.stage(f"evaluate {num_images}: {name}", evaluate, fid_report)
    title = f"{num_images:,} samples of seed {config.seed}"
    show(comparison_table(title, reports))
    run.image(f"sweep/{num_images}", plot_fid(title, settings, reports))
    run.artifact(f"sweep/{num_images}.json", _table(settings, reports))
    return reports


def plot_fid(title: str, settings: Mapping[str, Sampling], reports: Mapping[str, Report]) -> np.ndarray:
    """A plot of FID over guidance with a line for each temperature and allocation, (H, W, 3) uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines: dict[str, list[tuple[float, float]]] = {}
    for name, setting in settings.items():
        (fid,) = (value for figure, value in reports[name].results if figure.name == "fid")
        line = f"temperature {setting.temperature:g}, {','.join(map(str, setting.allocation))}"
        lines.setdefault(line, []).append((setting.guidance_scale, fid))
    figure = Figure(figsize=(9, 6), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot(title=title, xlabel="guidance scale", ylabel="FID")
    for line, points in lines.items():
        axes.plot(*zip(*sorted(points), strict=True), marker="o", label=line)
    axes.legend()
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _table(settings: Mapping[str, Sampling], reports: Mapping[str, Report]) -> bytes:
    rows = [
        {
            "guidance_scale": settings[name].guidance_scale,
            "temperature": settings[name].temperature,
            "allocation": settings[name].allocation,
            **{figure.name: value for figure, value in reports[name].results},
        }
        for name in ranked(reports)
    ]
    return json_file(rows)


def _allocation(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise BadInput(f"allocations: {text!r}; give numbers of bits, such as 2,2,5,7") from error


def sweep_imagenet() -> SweepConfig:
    """ImageNet 256 px around the published settings of bar-b and bar-l: 48 settings on 5,000 samples each."""
    return SweepConfig(
        generator=tyro.MISSING,
        tokenizer=tyro.MISSING,
        reference=tyro.MISSING,
        out=tyro.MISSING,
        guidance_scales=(3.0, 4.0, 5.0, 6.0),
        temperatures=(1.5, 2.0, 2.5, 3.0),
        allocations=("4,4,4,4", "2,2,5,7", "1,3,5,7"),
    )


SWEEPS: dict[str, Callable[[], SweepConfig]] = {"imagenet": sweep_imagenet}
