"""Images -> code shards, on Ray Data: every view of every image is encoded once, in units that are done whole."""

from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import Literal, Protocol

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from bar_model import checkpoint
from bar_model.bits import pack_bits
from bar_model.errors import BadInput
from bar_model.ranges import Positive, ShareBelowOne, check_ranges
from pipeline.cluster import ClusterConfig
from pipeline.codes.comparison import OnChange
from pipeline.codes.folder import SHARD_NAME, STAGE
from pipeline.codes.plan import plan_units
from pipeline.codes.plan_files import read_unit
from pipeline.codes.shard import CodeMetadata, check_shard, inspect_shard, pack_rows
from pipeline.execution.determinism import check_unchanged, use_one_thread
from pipeline.execution.manifest import Manifest, claimed_configuration
from pipeline.execution.quarantine import frequent_reasons, read_quarantine
from pipeline.execution.ray_data import Device, choose_workers
from pipeline.execution.stage import run_units
from pipeline.execution.unit import Row, Unit, Work
from pipeline.images.class_folders import ImageFolder
from pipeline.images.codec import CROP_RULE, MAX_PIXELS, VIEWS, to_model
from pipeline.images.left_out import LeftOut
from pipeline.images.read import read_images, reader_memory
from pipeline.images.source import Source
from pipeline.images.source_config import SourceConfig
from pipeline.paths import InputUrl, OutputFolder, SourceUrl
from pipeline.storage import Folder, local_copy
from pipeline.tracking.run import Run
from pipeline.tracking.start import TrackingConfig


@dataclass(frozen=True, kw_only=True)
class TokenizeConfig(SourceConfig):
    """Which images become codes, by which tokenizer, and on what."""

    source: SourceUrl
    """FOLDER of class folders, or FOLDER/PATTERN of .parquet, .tar or .csv files: a path, s3://… or hf://…"""
    tokenizer: InputUrl
    """Tokenizer: a model folder or a published .bin file, of any URL."""
    out: OutputFolder
    """Folder for the codes."""
    views: tuple[str, ...]
    """What is kept of an image: crop, flip."""
    class_numbers: Literal["kept", "sorted"] = "kept"
    """Numbers of new class folders: kept puts them after those in OUT; sorted renumbers all, and so wants a new OUT."""
    on_change: OnChange = "stop"
    """What to do with images that changed or went since they were encoded: reencode takes them as they are now."""
    source_moved: bool = False
    """The images that OUT was made from lie at --source now. Names and sizes of all published ones have to agree."""
    unit_size: Positive = 512
    """Images of a shard, read and encoded together: 100 MB of memory a unit at 256 px."""
    batch_size: Positive = 32
    """Images that the encoder takes at once, with all their views."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the encoder. The published codes were made in float32; bfloat16 flips some bits."""
    max_bad: ShareBelowOne = 0.01
    """Share of images that may be quarantined before the run fails."""
    device: Device = "auto"
    """Where the encoder runs (auto: on the cluster's GPUs, where it has any)."""
    workers: Positive | None = None
    """Encoders (else: one for every GPU, or for every CPU)."""
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        unknown = [view for view in self.views if view not in VIEWS]
        if unknown or not self.views or len(set(self.views)) < len(self.views):
            raise BadInput(f"views: {' '.join(self.views) or 'none'}; give each once, of {', '.join(VIEWS)}")
        check_ranges(self)


class ImageEncoder(Protocol):
    """What the stage needs of a tokenizer; `bar_model.tokenizer.tokenizer.Tokenizer` is one."""

    def encode(self, images: Float[Tensor, "batch 3 height width"]) -> Bool[Tensor, "batch tokens bits"]:
        """The bits of images in [-1, 1]."""
        ...


def tokenize(config: TokenizeConfig, run: Run | None = None) -> Manifest:
    """Encodes the images that aren't yet in `config.out`, inside a Ray session, and gives the manifest.

    Raises:
        BadInput: the source, the tokenizer or the folder can't be used, or too many images had to be quarantined.
    """
    source = config.open(config.source)
    if not isinstance(source, ImageFolder):
        print(source.summary, flush=True)
    elif config.class_numbers == "sorted":
        source = replace(source, is_counted=False)
    metadata = describe_codes(config.tokenizer, config.views)
    device, workers = choose_workers(config.device, config.workers)
    folder = Folder(config.out)
    configuration = {
        "codes": metadata.identity,
        "source": source.identity,
        "unit_size": config.unit_size,
        "encoder": {"batch_size": config.batch_size, "precision": config.precision, "device": device},
    }
    left_out = LeftOut()
    units = plan_units(
        folder,
        STAGE,
        configuration,
        source,
        config.unit_size,
        on_change=config.on_change,
        source_moved=config.source_moved,
        left_out=left_out,
    )
    # Where the source has grown by classes or moved, the folder goes on with the configuration that it was begun with.
    configuration = claimed_configuration(folder, STAGE) or configuration
    if run is not None:
        run.input("tokenizer", config.tokenizer, metadata.tokenizer)
    manifest = run_units(
        folder,
        encoding_work(config, source, metadata, device),
        units,
        configuration=configuration,
        workers=workers,
        run=run,
        max_bad=config.max_bad,
    )
    if run is not None:
        run.input("images", config.source, manifest.inputs.digest)
        run.output("codes", config.out, manifest.fingerprint)
    reasons = frequent_reasons(chain.from_iterable(read_quarantine(folder, manifest).values()))
    print(
        f"{config.out}: codes of {manifest.rows:,} images in {len(manifest.files):,} shards, "
        f"{manifest.num_quarantined:,} images quarantined{f' ({reasons})' if reasons else ''}; "
        f"left out: {left_out or 'nothing'}",
        flush=True,
    )
    return manifest


def encoding_work(config: TokenizeConfig, source: Source, metadata: CodeMetadata, device: str) -> Work:
    """The steps of the stage, from a unit of the plans to its shard."""
    return Work(
        stage=STAGE,
        item="images",
        name=SHARD_NAME,
        read=ReadImages(source, Folder(config.out), metadata.image_size, config.max_pixels),
        read_memory=reader_memory(config.unit_size, metadata.image_size, config.max_pixels),
        build=partial(load_encoder, config, metadata, device),
        pack=partial(pack_rows, metadata),
        inspect=inspect_shard,
        check=partial(check_shard, metadata),
    )


@dataclass(frozen=True)
class ReadImages:
    """The reading step: a unit of the plans -> its images, as `read_images` gives them."""

    source: Source
    plans: Folder
    size: int
    max_pixels: int = MAX_PIXELS

    def __call__(self, unit: Unit) -> Row:
        return read_images(self.source, read_unit(self.plans, unit), self.size, self.max_pixels)


class EncodeImages:
    """The encoding step: `images` (N, H, W, 3) uint8 -> `codes` (N, bytes) uint8, with one tokenizer in each worker.

    What the reading step says of the images, `records` and `contents`, is handed on.

    Every batch has the same shape, the last one padded: float sums depend on the shape, and bits on the sums.
    """

    def __init__(
        self,
        tokenizer: ImageEncoder,
        *,
        views: tuple[str, ...],
        batch_size: int,
        device: str,
        precision: str = "float32",
    ) -> None:
        self._tokenizer = tokenizer
        self._views = [VIEWS[view] for view in views]
        self._batch_size = batch_size
        self._device = torch.device(device)
        self._precision = getattr(torch, precision)

    def __call__(self, row: Row) -> Row:
        images: np.ndarray = row["images"]
        starts = range(0, len(images), self._batch_size)
        codes = [self._encode(images[start : start + self._batch_size]) for start in starts]
        # The host waits for the device only here, so that the batches of a unit follow each other without a gap.
        packed = torch.cat(codes).cpu().numpy() if codes else np.empty((0, 0), np.uint8)
        return {"codes": packed, **{name: row[name] for name in ("records", "contents") if name in row}}

    def _encode(self, images: UInt8[np.ndarray, "rows height width 3"]) -> UInt8[Tensor, "rows bytes"]:
        padding = np.zeros((self._batch_size - len(images), *images.shape[1:]), np.uint8)
        batch = np.concatenate([images, padding])
        viewed = to_model(np.concatenate([view(batch) for view in self._views]), self._device)
        mixed = self._precision != torch.float32
        with torch.inference_mode(), torch.autocast(self._device.type, dtype=self._precision, enabled=mixed):
            bits = self._tokenizer.encode(viewed)
        packed = pack_bits(rearrange(bits, "(view row) token bit -> row view (token bit)", view=len(self._views)))
        return rearrange(packed, "row view byte -> row (view byte)")[: len(images)]


def describe_codes(tokenizer: str, views: tuple[str, ...]) -> CodeMetadata:
    """The metadata of the codes that a tokenizer makes.

    Raises:
        BadInput: the tokenizer can't be read.
    """
    path = local_copy(tokenizer)
    model = checkpoint.load_tokenizer(path, decode_only=True)
    shape = model.config.codes
    return CodeMetadata(
        bits=shape.bits,
        grid=shape.grid,
        views=views,
        image_size=model.config.image_size,
        crop_rule=CROP_RULE,
        tokenizer=checkpoint.fingerprint_of(path),
    )


def load_encoder(config: TokenizeConfig, metadata: CodeMetadata, device: str) -> EncodeImages:
    """The encoding step, loaded in its worker.

    Raises:
        BadInput: the tokenizer is another than the one that `metadata` names.
    """
    use_one_thread(device)
    tokenizer = checkpoint.load_tokenizer(local_copy(config.tokenizer), device=device)
    check_unchanged(config.tokenizer, checkpoint.fingerprint(tokenizer), metadata.tokenizer)
    return EncodeImages(
        tokenizer, views=config.views, batch_size=config.batch_size, device=device, precision=config.precision
    )
