"""Drawing many images: codes from a generator, pictures from a tokenizer, on Ray Data, in units that are done whole."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import numpy as np
import torch
from einops import rearrange
from rich import print as show

from bar_model import checkpoint
from bar_model.bar import Bar
from bar_model.bits import pack_bits
from bar_model.engine import Engine, FastDecoder
from bar_model.errors import BadInput
from bar_model.sampling import Sampling
from bar_model.tokenizer import Tokenizer
from pipeline.cluster import ClusterConfig
from pipeline.images import from_model, to_grid
from pipeline.manifest import Manifest
from pipeline.npz import NPZ, write_npz
from pipeline.provenance import plain
from pipeline.samples import STAGE, Drawing, SampleFolder, Samples, encode_samples, inspect_samples
from pipeline.storage import Folder, local_copy
from pipeline.tracking import Run, TrackingConfig
from pipeline.train import trained_with
from pipeline.units import Device, Row, Unit, Work, place, run_units

MAX_SHOWN = 100
_LABELS_WANTED = "a list of classes is wanted, such as [207, 360]"


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """Which images are drawn, by which generator, how, and on what."""

    generator: str
    """Generator: a model folder or a published .bin file, of any URL."""
    tokenizer: str
    """The tokenizer whose codes the generator was trained on: likewise."""
    out: str
    """Folder for the samples."""
    num_images: int = 50_000
    first_index: int = 0
    """Images are numbered from here: with the seed, an image's number decides its noise."""
    seed: int = 0
    labels: tuple[int, ...] | None = None
    """Classes drawn in turn (else: all, in their order)."""
    labels_file: str | None = None
    """JSON list of such classes, of any URL: one an image, say."""
    guidance_scale: float | None = None
    """1 draws without guidance (else, as for the two below: the generator's own setting)."""
    temperature: float | None = None
    allocation: tuple[int, ...] | None = None
    """Bits that each unmasking step decides."""
    batch_size: int = 125
    """Images drawn at once. Float products depend on it: only with the same one are images the same bit for bit."""
    unit_size: int = 500
    """Images of a file, a multiple of `batch_size`; 100 MB of memory at 256 px."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the generator's products, keys and values (auto: bfloat16 on GPUs, float32 on CPUs)."""
    npz: bool = False
    """Also write OUT/samples.npz, as the published evaluation reads it."""
    device: Device = "auto"
    """Where images are drawn (auto: on the cluster's GPUs, where it has any)."""
    workers: int | None = None
    """Copies of the models, each on a GPU or a CPU of its own (else: every GPU, or every CPU but one)."""
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        for name in ("num_images", "batch_size", "unit_size"):
            if getattr(self, name) < 1:
                raise BadInput(f"{name}: {getattr(self, name)}; at least 1 is needed")
        if self.unit_size % self.batch_size:
            raise BadInput(f"unit_size: {self.unit_size}; must be a multiple of batch_size, {self.batch_size}")
        if self.first_index < 0:
            raise BadInput(f"first_index: {self.first_index}; images are numbered from 0")
        if not 0 <= self.seed < 2**32:
            raise BadInput(f"seed: {self.seed}; must be between 0 and {2**32 - 1}")
        if self.labels is not None and not self.labels:
            raise BadInput("labels: none; name at least one class, or leave them out for all")
        if self.labels is not None and self.labels_file is not None:
            raise BadInput("labels and labels_file: both are given, but one says which classes are drawn")


def sample(config: SampleConfig, run: Run | None = None) -> Manifest:
    """Draws the images that aren't yet in `config.out`, inside a Ray session."""
    device, workers = place(config.device, config.workers)
    drawing = describe_drawing(config, device)
    if run is not None:
        run.input("generator", config.generator, drawing.generator)
        run.input("tokenizer", config.tokenizer, drawing.tokenizer)
    manifest = run_units(
        Folder(config.out),
        drawing_work(drawing, partial(load_models, config.generator, config.tokenizer, drawing)),
        plan(config.first_index, config.num_images, config.unit_size),
        configuration={
            "drawing": plain(drawing),
            "first_index": config.first_index,
            "num_images": config.num_images,
            "unit_size": config.unit_size,
        },
        workers=workers,
        run=run,
    )
    if config.npz and not Folder(config.out).exists(NPZ):
        write_npz(SampleFolder.open(config.out), NPZ)
    if run is not None:
        run.output("samples", config.out, manifest.fingerprint)
        first = next(SampleFolder.open(config.out).shards()).images[:MAX_SHOWN]
        run.figure("samples", to_grid(first, columns=min(10, len(first))))
    show(f"{config.out}: {manifest.rows:,} images, guidance {drawing.sampling.guidance_scale:g}")
    return manifest


def describe_drawing(config: SampleConfig, device: str) -> Drawing:
    """How images will be drawn; BadInput where generator, tokenizer, labels and settings do not go together."""
    generator = checkpoint.load_bar(local_copy(config.generator))
    tokenizer_path = local_copy(config.tokenizer)
    tokenizer = checkpoint.load_tokenizer(tokenizer_path, decode_only=True)
    maker = checkpoint.fingerprint_of(tokenizer_path)
    _check_fit(config, generator, tokenizer, maker)
    num_classes = generator.config.num_classes
    labels = _labels(config) or tuple(range(num_classes))
    for label in labels:
        if not 0 <= label < num_classes:
            raise BadInput(f"labels: {label}; {config.generator} knows the classes 0 to {num_classes - 1}")
    sampling = _sampling(config, generator.config.sampling)
    generator.head.check_allocation(sampling.allocation)
    return Drawing(
        generator=checkpoint.fingerprint(generator),
        tokenizer=maker,
        codes=generator.config.codes,
        image_size=tokenizer.config.image_size,
        seed=config.seed,
        labels=labels,
        sampling=sampling,
        batch_size=config.batch_size,
        precision=_precision(config, device),
        device=device,
    )


def plan(first_index: int, num_images: int, unit_size: int) -> Iterator[Unit]:
    """Units of image numbers, each a payload [from, to); they part at the multiples of `unit_size`.

    So an image has the same place in its batch whichever range it is drawn in.
    """
    end = first_index + num_images
    for index, aligned in enumerate(range(first_index // unit_size * unit_size, end, unit_size)):
        start, stop = max(aligned, first_index), min(aligned + unit_size, end)
        yield Unit(index=index, size=stop - start, payload=[start, stop])


def drawing_work(drawing: Drawing, build: Callable[[], Callable[[Row], Row]]) -> Work:
    """The steps from a range of image numbers to a file of samples."""
    return Work(
        stage=STAGE,
        item="images",
        name="samples-{}.parquet",
        read=read_range,
        build=build,
        pack=partial(pack_samples, drawing),
        inspect=inspect_samples,
    )


def read_range(unit: Unit) -> Row:
    """A unit -> `indices` (N,) int64."""
    return {"indices": np.arange(*unit.payload)}


class DrawImages:
    """`indices` (N,) -> `labels` (N,) int32, `images` (N, H, W, 3) and `codes` (N, bytes) uint8. One an actor.

    Every batch is drawn whole, from a multiple of its size on, and what was not asked for is left out: float sums
    depend on a batch's shape and an image's place in it, and bits on the sums.
    """

    def __init__(self, generator: Bar, tokenizer: Tokenizer, drawing: Drawing) -> None:
        self._engine = Engine(generator, dtype=getattr(torch, drawing.precision))
        self._decoder = FastDecoder(tokenizer, dtype=torch.float32)
        self._drawing = drawing

    def __call__(self, row: Row) -> Row:
        indices: np.ndarray = row["indices"]
        size = self._drawing.batch_size
        starts = range(indices[0] // size * size, indices[-1] + 1, size)
        batches = [self._draw(np.arange(start, start + size)) for start in starts]
        asked = slice(indices[0] - starts[0], indices[-1] - starts[0] + 1)
        images, codes = (np.concatenate(parts)[asked] for parts in zip(*batches, strict=True))
        return {"indices": indices, "labels": self._drawing.label_of(indices), "images": images, "codes": codes}

    def _draw(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        device = self._drawing.device
        bits = self._engine.generate(
            torch.from_numpy(self._drawing.label_of(indices)).long().to(device),
            seed=self._drawing.seed,
            images=torch.from_numpy(indices).to(device),
            sampling=self._drawing.sampling,
        )
        images = from_model(self._decoder.decode(bits))
        codes = pack_bits(rearrange(bits, "image token bit -> image (token bit)"))
        return images, codes.cpu().numpy()


def pack_samples(drawing: Drawing, row: Row) -> bytes:
    """`indices`, `labels`, `images` and `codes` -> the file of samples."""
    return encode_samples(Samples(row["indices"], row["labels"], row["images"], row["codes"]), drawing)


def load_models(generator: str, tokenizer: str, drawing: Drawing) -> DrawImages:
    """Generator and tokenizer in their worker."""
    if drawing.device == "cpu":
        # Threads divide the sums among them, so that bits would depend on their number.
        torch.set_num_threads(1)
    paths = [local_copy(url) for url in (generator, tokenizer)]
    for url, path, expected in zip((generator, tokenizer), paths, (drawing.generator, drawing.tokenizer), strict=True):
        if checkpoint.fingerprint_of(path) != expected:
            raise BadInput(f"{url}: has changed since the run began, or differs between machines: run again")
    bar = checkpoint.load_bar(paths[0], device=drawing.device)
    return DrawImages(bar, checkpoint.load_tokenizer(paths[1], device=drawing.device, decode_only=True), drawing)


def _check_fit(config: SampleConfig, generator: Bar, tokenizer: Tokenizer, fingerprint: str) -> None:
    wanted, given = generator.config.codes, tokenizer.config.codes
    if wanted != given:
        raise BadInput(
            f"{config.tokenizer} makes codes of grid {given.grid} and {given.bits} bits, but {config.generator} draws "
            f"grid {wanted.grid} and {wanted.bits} bits: give the tokenizer that the generator was trained with"
        )
    expected = trained_with(config.generator)
    if expected not in (None, fingerprint):
        raise BadInput(
            f"{config.tokenizer} is tokenizer {fingerprint}, but {config.generator} was trained on the codes of "
            f"{expected}: give that one"
        )


def _labels(config: SampleConfig) -> tuple[int, ...] | None:
    if config.labels_file is None:
        return config.labels
    path = local_copy(config.labels_file)
    try:
        labels = json.loads(path.read_bytes())
    except (ValueError, OSError) as error:
        raise BadInput(f"labels_file: {config.labels_file} is no JSON ({error}): {_LABELS_WANTED}") from error
    if not isinstance(labels, list) or not labels or not all(type(label) is int for label in labels):
        raise BadInput(f"labels_file: {config.labels_file} is something else: {_LABELS_WANTED}")
    return tuple(labels)


def _precision(config: SampleConfig, device: str) -> str:
    if config.precision != "auto":
        return config.precision
    return "bfloat16" if device == "cuda" else "float32"


def _sampling(config: SampleConfig, default: Sampling) -> Sampling:
    """The generator's own settings, but for those that the configuration names."""
    names = ("guidance_scale", "temperature", "allocation")
    return replace(default, **{name: getattr(config, name) for name in names if getattr(config, name) is not None})
