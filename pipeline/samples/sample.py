"""The stage that draws images: codes from a generator, pixels from a tokenizer, on Ray Data, in whole units."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import torch

from bar_model import checkpoint
from bar_model.configuration import plain
from bar_model.errors import BadInput
from bar_model.generator.bar import Bar
from bar_model.generator.sampling import GuidanceScale, Sampling, StepBits, Temperature
from bar_model.ranges import Count, Positive, Range, Seed, check_ranges
from bar_model.tokenizer.tokenizer import Tokenizer
from pipeline.cluster import ClusterConfig
from pipeline.execution.manifest import Manifest, claimed_configuration
from pipeline.execution.ray_data import Device, Workers, choose_workers
from pipeline.execution.stage import run_units
from pipeline.execution.unit import Row, Unit, Work
from pipeline.features.networks import FeatureNetworksConfig
from pipeline.images.class_map import read_classes
from pipeline.images.codec import to_grid
from pipeline.paths import InputUrl, OutputFolder
from pipeline.samples.batch_size import Auto, WorkerLoad
from pipeline.samples.encoding import Encoding, Keeping
from pipeline.samples.folder import STAGE, SampleFolder
from pipeline.samples.labels import LabelSchedule, make_schedule
from pipeline.samples.npz import NPZ, write_npz
from pipeline.samples.shard import Drawing, check_samples, encode_samples, inspect_samples
from pipeline.samples.worker import load_models
from pipeline.storage import Folder, absolute, local_copy
from pipeline.terminal import show
from pipeline.tracking.run import Run
from pipeline.tracking.start import TrackingConfig
from pipeline.training.output import trained_with

MAX_SHOWN = 100


DrawingPrecision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class DrawingOptions:
    """How many images are drawn at once, and on what: of sampling, and of all workflows that sample."""

    batch_size: Positive | Auto = 125
    """Images drawn at once; another number changes some bits (auto: what memory holds, or what OUT was begun with)."""
    unit_size: Positive = 500
    """Images of a shard, a multiple of `batch_size`; 100 MB of memory at 256 px."""
    device: Device = "auto"
    """Where images are drawn (auto: on the cluster's GPUs, where it has any)."""
    workers: Positive | None = None
    """Copies of the models (else: one for every GPU, or for every CPU)."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.batch_size != "auto" and self.unit_size % self.batch_size:
            raise BadInput(f"unit_size: {self.unit_size}; must be a multiple of batch_size, {self.batch_size}")

    @property
    def drawing_options(self) -> dict[str, Any]:
        """These options alone, by name, as another configuration of this kind takes them."""
        return {option.name: getattr(self, option.name) for option in fields(DrawingOptions)}


@dataclass(frozen=True, kw_only=True)
class SampleConfig(DrawingOptions):
    """Which images are drawn, by which generator, how, and on what."""

    generator: InputUrl
    """Generator: a model folder or a published .bin file, of any URL."""
    tokenizer: InputUrl
    """The tokenizer whose codes the generator was trained on: a model folder or a published .bin file, too."""
    out: OutputFolder
    """Folder for the samples."""
    num_images: Annotated[int, Range(least=1, most=10**9)] = 50_000
    first_index: Count = 0
    """Images are numbered from here: with the seed, an image's number decides its noise."""
    seed: Seed = 0
    labels: tuple[Count | str, ...] | None = None
    """Classes drawn in turn, by number or name (else: all, in their order)."""
    labels_file: InputUrl | None = None
    """File of such classes, of any URL: a JSON list, a .txt of one a line, or a .npy array; one an image, say."""
    classes: InputUrl | None = None
    """JSON file of labels by class name, as for tokenizing. Numbers are understood without it."""
    guidance_scale: GuidanceScale | None = None
    """1 draws without guidance (else, as for the two below: the generator's own setting)."""
    temperature: Temperature | None = None
    allocation: tuple[StepBits, ...] | None = None
    """Bits that each unmasking step decides."""
    images: Encoding = "png"
    """How pictures are kept: PNG, WebP without loss, raw pixels, or (none) as codes alone."""
    files: bool = False
    """Keep each picture as a file of its own below OUT/images, instead of in the shards."""
    features: bool = False
    """Also keep what the networks of evaluation see in each picture: to judge samples then needs no picture."""
    networks: FeatureNetworksConfig = field(default_factory=FeatureNetworksConfig)
    precision: DrawingPrecision = "auto"
    """Of the generator's products, keys and values (auto: bfloat16 on GPUs, float32 on CPUs)."""
    npz: bool = False
    """Also write OUT/samples.npz, as the published evaluation reads it."""
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.labels is not None and not self.labels:
            raise BadInput("labels: none are given; name at least one class, or leave the option out for all")
        if self.labels is not None and self.labels_file is not None:
            raise BadInput("labels and labels_file: both are given; give only one of them")
        keeping = self.keeping
        if self.npz and not keeping.has_pixels:
            raise BadInput(
                "npz: holds pictures, but images is none; keep them, or write it later with jobs/write_npz.py"
            )

    @property
    def keeping(self) -> Keeping:
        """The way in which images are kept."""
        return Keeping(encoding=self.images, files=self.files)


def sample(config: SampleConfig, run: Run | None = None) -> Manifest:
    """Draws the images that aren't yet in `config.out`, inside a Ray session.

    Raises:
        BadInput: models, labels and settings do not go together, or `config.out` was begun with others.
    """
    device, workers = choose_workers(config.device, config.workers)
    drawing, labels = describe_drawing(config, device, workers)
    if run is not None:
        run.input("generator", config.generator, drawing.generator)
        run.input("tokenizer", config.tokenizer, drawing.tokenizer)
    num_drawn = config.first_index + config.num_images
    if len(labels.values) > num_drawn and (config.labels or config.labels_file):
        show(f"Of {len(labels.values):,} labels, those of the first {num_drawn:,} images are drawn (--num-images).")
    models = absolute(config.generator), absolute(config.tokenizer)
    configuration = {
        "drawing": plain(drawing),
        "first_index": config.first_index,
        "num_images": config.num_images,
        "unit_size": config.unit_size,
        "keeping": plain(config.keeping),
    }
    networks = None
    if config.features:
        config.networks.load(torch.device("cpu"))  # Raises before any work starts if weights are missing.
        configuration["features"] = config.networks.identity
        networks = config.networks.for_workers()
    build = partial(load_models, *models, drawing, labels, with_images=config.keeping.has_pixels, networks=networks)
    manifest = run_units(
        Folder(config.out),
        drawing_work(drawing, config.keeping, build),
        plan(config.first_index, config.num_images, config.unit_size),
        configuration=configuration,
        workers=workers,
        run=run,
    )
    if config.npz and not Folder(config.out).exists(NPZ):
        write_npz(SampleFolder.open(config.out), NPZ)
    if run is not None:
        run.output("samples", config.out, manifest.fingerprint)
        if config.keeping.has_pixels:
            first = next(SampleFolder.open(config.out).shards()).images[:MAX_SHOWN]
            run.image("samples", to_grid(first, columns=min(10, len(first))))
    show(f"{config.out}: {manifest.rows:,} images, guidance {drawing.sampling.guidance_scale:g}")
    return manifest


def describe_drawing(config: SampleConfig, device: str, workers: Workers) -> tuple[Drawing, LabelSchedule]:
    """How images will be drawn, and their labels.

    Raises:
        BadInput: models, labels and settings do not go together.
    """
    generator = checkpoint.load_bar(local_copy(config.generator))
    tokenizer_path = local_copy(config.tokenizer)
    tokenizer = checkpoint.load_tokenizer(tokenizer_path, decode_only=True)
    maker = checkpoint.fingerprint_of(tokenizer_path)
    _check_fit(config, generator, tokenizer, maker)
    classes = read_classes(config.classes) if config.classes is not None else None
    labels = make_schedule(config.labels, config.labels_file, generator.config.num_classes, classes)
    sampling = _sampling(config, generator.config.sampling)
    generator.head.check_allocation(sampling.allocation)
    precision = _precision(config, device)
    load = WorkerLoad(generator=generator, tokenizer=tokenizer, sampling=sampling, precision=precision)
    drawing = Drawing(
        generator=checkpoint.fingerprint(generator),
        tokenizer=maker,
        codes=generator.config.codes,
        image_size=tokenizer.config.image_size,
        seed=config.seed,
        labels=labels.schedule,
        sampling=sampling,
        batch_size=_batch_size(config, load, device, workers),
        precision=precision,
        device=device,
    )
    return drawing, labels


def plan(first_index: int, num_images: int, unit_size: int) -> Iterator[Unit]:
    """The units of a range of images, each with a payload [from, to). They part at the multiples of `unit_size`.

    So an image has the same place in its batch, whichever range it is drawn in.
    """
    end = first_index + num_images
    for index, aligned in enumerate(range(first_index // unit_size * unit_size, end, unit_size)):
        start, stop = max(aligned, first_index), min(aligned + unit_size, end)
        yield Unit(index=index, size=stop - start, payload=[start, stop])


def drawing_work(drawing: Drawing, keeping: Keeping, build: Callable[[], Callable[[Row], Row]]) -> Work:
    """The work that makes a shard of samples of each range of image numbers."""
    return Work(
        stage=STAGE,
        item="images",
        name="samples-{}.parquet",
        read=read_range,
        build=build,
        pack=partial(encode_samples, drawing=drawing, keeping=keeping),
        inspect=inspect_samples,
        check=partial(check_samples, drawing=drawing),
        beside=keeping.beside,
    )


def read_range(unit: Unit) -> Row:
    """The image numbers of a unit: `indices` (N,) int64."""
    return {"indices": np.arange(*unit.payload)}


def _batch_size(config: SampleConfig, load: WorkerLoad, device: str, workers: Workers) -> int:
    if config.batch_size != "auto":
        return config.batch_size
    begun = claimed_configuration(Folder(config.out), STAGE)
    if begun is not None:
        return begun["drawing"]["batch_size"]
    return load.choose(unit_size=config.unit_size, device=device, workers=workers)


def _check_fit(config: SampleConfig, generator: Bar, tokenizer: Tokenizer, fingerprint: str) -> None:
    drawn, given = generator.config.codes, tokenizer.config.codes
    if drawn != given:
        raise BadInput(
            f"{config.tokenizer} makes codes of grid {given.grid} and {given.bits} bits, but {config.generator} draws "
            f"grid {drawn.grid} and {drawn.bits} bits: give the tokenizer that the generator was trained with"
        )
    expected = trained_with(config.generator)
    if expected not in (None, fingerprint):
        raise BadInput(
            f"{config.tokenizer} is tokenizer {fingerprint}, but {config.generator} was trained on the codes of "
            f"{expected}: give that one"
        )


def _precision(config: SampleConfig, device: str) -> str:
    if config.precision != "auto":
        return config.precision
    return "bfloat16" if device == "cuda" else "float32"


def _sampling(config: SampleConfig, default: Sampling) -> Sampling:
    """The generator's own settings, replaced by those that the configuration names."""
    names = ("guidance_scale", "temperature", "allocation")
    return replace(default, **{name: getattr(config, name) for name in names if getattr(config, name) is not None})
