"""Feature shards: what was written is read; what is damaged is named."""

import numpy as np
import pytest
from hypothesis import given, settings
from safetensors.numpy import save

from bar_model.errors import BadInput
from pipeline.execution.manifest import Quarantined
from pipeline.features.shard import FeatureShard, decode_features, encode_features, inspect_features
from tests.harness.damage import SHAPES, damaged, refusal
from tests.harness.feature_folders import FEATURES, KEYS


def test_a_shard_survives_its_file() -> None:
    broken = (Quarantined("k9", "there", "is empty"),)
    data = encode_features(FeatureShard(KEYS, FEATURES, broken))
    assert data == encode_features(FeatureShard(KEYS, dict(reversed(FEATURES.items())), broken))
    keys, features, quarantined = decode_features(data, "it")
    assert (keys, quarantined) == (KEYS, broken)
    for name, each in FEATURES.items():
        np.testing.assert_array_equal(features[name], each)
    assert inspect_features(data) == (23, broken)


def test_a_damaged_shard_is_named() -> None:
    data = encode_features(FeatureShard(KEYS, FEATURES))
    for content in (data[:-4], data[:30], b"", b"x" * 99):
        with pytest.raises(BadInput, match="it is no feature shard, or damaged"):
            decode_features(content, "it")
    with pytest.raises(BadInput, match="more or fewer"):
        decode_features(encode_features(FeatureShard(KEYS[1:], FEATURES)), "it")


@settings(deadline=None, max_examples=300)
@given(damaged(encode_features(FeatureShard(KEYS[:3], {"a": FEATURES["a"][:3]}, (Quarantined("k", "w", "y"),)))))
def test_a_damaged_shard_is_read_or_named_in_one_line(data: bytes) -> None:
    refused = refusal(lambda: decode_features(data, "it"))
    assert refused is None or refused.startswith("it ")


@pytest.mark.parametrize("about", SHAPES)
def test_metadata_that_is_no_object_is_named(about: bytes) -> None:
    data = save({"a": np.zeros((1, 2), np.float32)}, metadata={"bar.features": about.decode(errors="replace")})
    with pytest.raises(BadInput, match=r"^it (is no feature shard, or damaged|has feature format)"):
        decode_features(data, "it")
