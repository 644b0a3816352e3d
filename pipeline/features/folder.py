"""A finished folder of features, read against its manifest."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from bar_model.errors import BadInput
from pipeline.execution.manifest import Manifest, read_checked
from pipeline.features.shard import FeatureShard, decode_features
from pipeline.metrics.frechet import Moments, RunningMoments
from pipeline.storage import Folder

STAGE = "features"


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
        first: dict[str, int] = {}
        for file in self.manifest.files:
            where = self.folder.path(file.name)
            shard = decode_features(read_checked(self.folder, file), where)
            if len(shard.keys) != file.rows:
                raise BadInput(f"{where} has {len(shard.keys)} rows, the manifest says {file.rows}: restore it")
            dims = {name: each.shape[1] for name, each in shard.features.items()}
            if dims != (first := first or dims):
                raise BadInput(f"{where} has features {dims}, but the first shard {first}: make the folder anew")
            yield shard

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
            for name in {*running, *parts}.difference(shard.features):
                raise BadInput(f"{self.folder.url} has a shard without the features {name!r}: make the folder anew")
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
