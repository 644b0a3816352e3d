"""Folders of features for tests, from features in memory."""

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.execution.stage import publish
from pipeline.execution.unit import Format, Receipt, Unit, finish_unit
from pipeline.features.folder import STAGE
from pipeline.features.shard import SHARD_NAME, FeatureShard, encode_features, inspect_features
from pipeline.storage import Folder

RNG = np.random.default_rng(0)
FEATURES = {"a": RNG.normal(size=(23, 3)).astype(np.float32), "b": RNG.normal(size=(23, 5)).astype(np.float32)}
KEYS = tuple(f"k{index}" for index in range(23))


def save_features(
    url: str, sizes: Sequence[int], keys: tuple[str, ...] = KEYS, features: Mapping[str, np.ndarray] = FEATURES
) -> str:
    """A folder of features as the stage leaves it, in shards of these sizes."""
    form = Format(name=SHARD_NAME, pack=lambda row: encode_features(row["shard"]), inspect=inspect_features)
    units: list[Unit] = []
    receipts: list[Receipt] = []
    start = 0
    for index, size in enumerate(sizes):
        rows = slice(start, start + size)
        shard = FeatureShard(keys[rows], {name: each[rows] for name, each in features.items()})
        units.append(Unit(index=index, size=size, payload=[start, start + size]))
        receipts.append(finish_unit(Folder(url), form, units[-1], {"shard": shard}))
        start += size
    publish(Folder(url), STAGE, units, receipts, configuration={})
    return url
