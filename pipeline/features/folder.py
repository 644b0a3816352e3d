"""Feature shards: what networks see in images, a row an image, in safetensors files beside their manifest."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32
from safetensors import SafetensorError
from safetensors.numpy import load, save
from torch import Tensor

from bar_model.errors import BadInput, one_line
from pipeline.execution.manifest import Manifest, Quarantined, read_checked
from pipeline.execution.unit import Contents, Row
from pipeline.metrics.frechet import Moments, RunningMoments
from pipeline.storage import Folder

FORMAT = 1
STAGE = "features"
SHARD_NAME = "features-{}.safetensors"
COLUMN = "features."
"""The beginning of the columns of features in the rows of a stage; the feature's name follows."""
_METADATA = "bar.features"
_LENGTH_BYTES = 8


class FeatureShard(NamedTuple):
    """Features by name, each (images, dims) float32, in the order of the images' keys."""

    keys: tuple[str, ...]
    features: Mapping[str, Float32[np.ndarray, "images dims"]]
    quarantined: tuple[Quarantined, ...] = ()


class Summary(NamedTuple):
    """What distances between sets are made of: moments of features by name, and the features of some images."""

    keys: tuple[str, ...]
    """The keys of all images, in their order."""
    moments: Mapping[str, Moments]
    features: Mapping[str, Float32[np.ndarray, "kept dims"]]


@dataclass(frozen=True)
class FeatureFolder:
    """A finished folder of features, read against its manifest."""

    folder: Folder
    manifest: Manifest

    @classmethod
    def open(cls, url: str) -> "FeatureFolder":
        """The folder of features at a URL.

        Raises:
            BadInput: there is no finished folder of features.
        """
        folder = Folder(url)
        manifest = Manifest.read(folder, stage=STAGE, what="features")
        return cls(folder, manifest)

    def shards(self) -> Iterator[FeatureShard]:
        """One shard after another, in the order of the images.

        Raises:
            BadInput: a shard is missing, or is not as the manifest says.
        """
        for file in self.manifest.files:
            yield decode_features(read_checked(self.folder, file), self.folder.path(file.name))

    def summary(self, moments: tuple[str, ...], keep: tuple[str, ...], *, max_kept: int | None = None) -> Summary:
        """Moments of the features `moments`, and the features `keep` of `max_kept` images, evenly spaced (None: all).

        Shards are read one by one, so that only what is kept is in memory.

        Raises:
            BadInput: a shard can't be used, or an image is there twice.
        """
        num = self.manifest.rows
        kept = np.arange(num) if max_kept is None or num <= max_kept else np.arange(max_kept) * num // max_kept
        running = {name: RunningMoments() for name in moments}
        parts: dict[str, list[np.ndarray]] = {name: [] for name in keep}
        seen: dict[str, None] = {}
        for shard in self.shards():
            for key in shard.keys:
                if key in seen:
                    raise BadInput(f"{self.folder.url} holds image {key} twice: each counts once; make it anew")
                seen[key] = None
            start = len(seen) - len(shard.keys)
            rows = kept[(kept >= start) & (kept < len(seen))] - start
            for name, sums in running.items():
                sums.add(shard.features[name])
            for name, part in parts.items():
                part.append(shard.features[name][rows])
        return Summary(
            tuple(seen),
            {name: sums.result() for name, sums in running.items()},
            {name: np.concatenate(part) for name, part in parts.items()},
        )


def features_in(row: Row) -> dict[str, Float32[np.ndarray, "images dims"]]:
    """The features among the columns of a row, by name."""
    return {name.removeprefix(COLUMN): each for name, each in sorted(row.items()) if name.startswith(COLUMN)}


def as_columns(features: Mapping[str, Tensor]) -> Row:
    """The columns of a row from features of a batch, each (batch, dims), by name."""
    return {f"{COLUMN}{name}": each.cpu().numpy() for name, each in features.items()}


def encode_features(shard: FeatureShard) -> bytes:
    """The content of a shard's file: the same bytes for the same features."""
    about = {"format": FORMAT, "keys": shard.keys, "quarantined": shard.quarantined}
    return save(dict(shard.features), metadata={_METADATA: json.dumps(about)})


def decode_features(data: bytes, where: str) -> FeatureShard:
    """The shard that a file holds; the inverse of `encode_features`.

    Raises:
        BadInput: the file, `where`, is no whole shard.
    """
    try:
        header = json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")])
        about = json.loads(header["__metadata__"][_METADATA])
        found = about["format"]
        features = load(data)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{where} is no feature shard, or damaged ({one_line(error)})") from error
    if found != FORMAT:
        raise BadInput(f"{where} has feature format {found}, but this version reads {FORMAT}: update this software")
    if any(len(each) != len(about["keys"]) for each in features.values()):
        raise BadInput(f"{where} holds features of more or fewer images than it has keys: make it anew")
    return FeatureShard(tuple(about["keys"]), features, Quarantined.from_rows(about["quarantined"]))


def inspect_features(data: bytes) -> Contents:
    """What the content of a shard's file says of itself.

    Raises:
        BadInput: the file is no whole shard.
    """
    shard = decode_features(data, "the shard")
    return Contents(len(shard.keys), shard.quarantined)
