"""The stage that takes features of images, on Ray Data: each image passes the networks once, in whole units."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from jaxtyping import UInt8

from bar_model.errors import BadInput
from bar_model.ranges import Positive, ShareBelowOne, check_ranges
from pipeline.evaluation.image_sets import FolderImageSet, ImageSet, SampleImageSet, image_set_fingerprint
from pipeline.execution.determinism import use_one_thread
from pipeline.execution.ray_data import Device, choose_workers
from pipeline.execution.records import Records
from pipeline.execution.stage import run_units
from pipeline.execution.unit import Row, Work
from pipeline.features.folder import STAGE, FeatureFolder
from pipeline.features.networks import Extractor, FeatureNetworksConfig, Networks
from pipeline.features.shard import SHARD_NAME, FeatureShard, as_columns, encode_features, features_in, inspect_features
from pipeline.storage import Folder
from pipeline.tracking.run import Run


@dataclass(frozen=True, kw_only=True)
class ExtractConfig:
    """How features are taken of images, and on what."""

    networks: FeatureNetworksConfig = field(default_factory=FeatureNetworksConfig)
    batch_size: Positive = 64
    """Pictures that the network takes at once. Float products depend on it, in the last digits."""
    max_bad: ShareBelowOne = 0
    """Share of pictures that may be quarantined before the run fails."""
    device: Device = "auto"
    """Where the network runs (auto: on the cluster's GPUs, where it has any)."""
    workers: Positive | None = None
    """Networks (else: one for every GPU, or for every CPU)."""

    def __post_init__(self) -> None:
        check_ranges(self)


def extract(
    image_set: ImageSet, root: str, config: ExtractConfig, run: Run | None = None, networks: Networks | None = None
) -> FeatureFolder:
    """Features of the images, in a folder of `root` that is named after all that they depend on; inside a Ray session.

    So other evaluations of the same images find them there. The features are those of `networks` (else:
    `config.networks`). If the same networks saw the samples while they were drawn, those features are taken, with the
    batch size and the device of the drawing.

    Raises:
        BadInput: weights can't be loaded, or images are missing.
    """
    networks = networks or config.networks
    if isinstance(image_set, SampleImageSet) and image_set.networks == networks.identity:
        drawing = image_set.samples.drawing
        batch_size, device = drawing.batch_size, drawing.device
        read, build = image_set.read_features, _take_over
        workers = choose_workers("cpu", config.workers)[1]
    else:
        networks.load(torch.device("cpu"))  # Raises before any work starts if weights are missing.
        batch_size = config.batch_size
        device, workers = choose_workers(config.device, config.workers)
        read, build = image_set.read, partial(load_worker, networks.for_workers(), batch_size, device)
    configuration = {
        # By this name: it is part of what names the folder, and folders that were made before must be found.
        "gallery": image_set.identity,
        "pictures": image_set_fingerprint(image_set),
        "networks": networks.identity,
        "batch_size": batch_size,
        "device": device,
    }
    digest = hashlib.sha256(json.dumps(configuration, sort_keys=True).encode()).hexdigest()[:16]
    folder = Folder(root) / digest
    run_units(
        folder,
        Work(
            stage=STAGE,
            item="images",
            name=SHARD_NAME,
            read=read,
            read_memory=image_set.read_memory if isinstance(image_set, FolderImageSet) else Work.read_memory,
            build=build,
            pack=pack_features if config.max_bad else pack_all_features,
            inspect=inspect_features,
        ),
        image_set.plan(),
        configuration=configuration,
        workers=workers,
        run=run,
        max_bad=config.max_bad,
    )
    return FeatureFolder.open(folder.url)


class ExtractFeatures:
    """`images` (N, H, W, 3) uint8 -> `features.NAME` (N, dims) float32 each. Each actor has one network.

    Every batch has the same shape, the last one padded, because float sums depend on the shape.
    """

    def __init__(self, extractor: Extractor, *, batch_size: int) -> None:
        self._extractor = extractor
        self._batch_size = batch_size

    def __call__(self, row: Row) -> Row:
        """The features of the images in a row."""
        images: np.ndarray = row["images"]
        # Also a unit without images must say how wide its features are.
        starts = range(0, max(len(images), 1), self._batch_size)
        batches = [self._extract(images[start : start + self._batch_size]) for start in starts]
        features = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
        return {"records": row["records"], **features}

    def _extract(self, images: UInt8[np.ndarray, "rows height width 3"]) -> Row:
        padded = np.zeros((self._batch_size, *images.shape[1:]), np.uint8)
        padded[: len(images)] = images
        seen = self._extractor(torch.from_numpy(padded).permute(0, 3, 1, 2))
        return as_columns({name: each[: len(images)] for name, each in seen.items()})


def load_worker(networks: Networks, batch_size: int, device: str) -> ExtractFeatures:
    """Loads the networks into a worker."""
    use_one_thread(device)
    return ExtractFeatures(networks.load(torch.device(device)), batch_size=batch_size)


def pack_features(row: Row) -> bytes:
    """The bytes of a feature shard, of a row with `records` and `features.NAME`."""
    records = Records.from_json(row["records"])
    features = {name: np.ascontiguousarray(each) for name, each in features_in(row).items()}
    return encode_features(FeatureShard(tuple(records.keys), features, tuple(records.quarantined)))


def pack_all_features(row: Row) -> bytes:
    """As `pack_features`, where every image is needed: a unit is not kept whose images may be reached another time.

    Raises:
        BadInput: an image could not be reached.
    """
    for item in Records.from_json(row["records"]).quarantined:
        if item.passing:
            raise BadInput(f"{item.where} {item.why}: run again later, or set max_bad to go on without such images")
    return pack_features(row)


def _take_over() -> Callable[[Row], Row]:
    return lambda row: row
