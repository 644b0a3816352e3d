"""Feature shards: what networks see in images, a row an image, in a safetensors file."""

import json
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32
from safetensors.numpy import load, save
from torch import Tensor

from bar_model.errors import BadInput, interpreting
from pipeline.execution.manifest import Quarantined
from pipeline.execution.unit import Contents, Row

FORMAT = 1
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


def features_in(row: Row) -> dict[str, Float32[np.ndarray, "images dims"]]:
    """The features among the columns of a row, by name."""
    return {name.removeprefix(COLUMN): each for name, each in sorted(row.items()) if name.startswith(COLUMN)}


def as_columns(features: Mapping[str, Tensor]) -> Row:
    """The columns of a row from features of a batch, each (batch, dims), by name."""
    return {f"{COLUMN}{name}": each.cpu().numpy() for name, each in features.items()}


def encode_features(shard: FeatureShard) -> bytes:
    """The content of a shard's file: the same bytes for the same features."""
    about = {"format": FORMAT, "keys": shard.keys, "quarantined": Quarantined.to_rows(shard.quarantined)}
    return save(dict(shard.features), metadata={_METADATA: json.dumps(about)})


def decode_features(data: bytes, where: str) -> FeatureShard:
    """The shard that a file holds; the inverse of `encode_features`.

    Raises:
        BadInput: the file, `where`, is no whole shard.
    """
    with interpreting(f"{where} is no feature shard, or damaged", "restore it, or make it anew"):
        header = json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")])
        about = json.loads(header["__metadata__"][_METADATA])
        if type(found := about["format"]) is not int:
            raise TypeError("the format is a number")
        if found != FORMAT:
            raise BadInput(f"{where} has feature format {found}, but this version reads {FORMAT}: update this software")
        shard = FeatureShard(tuple(about["keys"]), load(data), Quarantined.from_rows(about["quarantined"]))
        if not all(isinstance(key, str) for key in shard.keys):
            raise TypeError("keys are strings")
        if not all(each.ndim == 2 and each.dtype == np.float32 for each in shard.features.values()):
            raise TypeError("features are rows of 32-bit floats")
    if any(len(each) != len(shard.keys) for each in shard.features.values()):
        raise BadInput(f"{where} holds features of more or fewer images than it has keys: make it anew")
    return shard


def inspect_features(data: bytes) -> Contents:
    """What the content of a shard's file says of itself.

    Raises:
        BadInput: the file is no whole shard.
    """
    shard = decode_features(data, "the shard")
    return Contents(len(shard.keys), shard.quarantined)
