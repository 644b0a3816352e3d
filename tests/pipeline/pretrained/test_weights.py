"""Weights that others have trained: they are the network's and the very file, or one line says what is required."""

import hashlib
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from bar_model.errors import BadInput
from pipeline.pretrained.weights import RequiredWeights, read_weights

REQUIRED = RequiredWeights("vgg", "https://example.org/vgg.pth")
REMEDY = r"download https://example\.org/vgg\.pth and give its path as networks\.vgg"


def test_both_formats_hold_the_same_tensors(tmp_path: Path) -> None:
    weights = {"a": torch.arange(3.0)}
    torch.save(weights, tmp_path / "w.pth")
    save_file(weights, tmp_path / "w.safetensors")
    for name in ("w.pth", "w.safetensors"):
        torch.testing.assert_close(dict(read_weights(tmp_path / name)), weights)


def test_a_source_is_read_and_without_one_the_hub_is(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "w.pth")
    found = REQUIRED.get(str(tmp_path / "w.pth"), read_weights, lambda: pytest.fail("the hub was asked"))
    assert set(found) == {"a"}
    assert REQUIRED.get(None, read_weights, lambda: {"b": torch.ones(1)}).keys() == {"b"}


def test_what_is_no_file_of_tensors_is_refused_and_never_unpickled(tmp_path: Path) -> None:
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(print, protocol=2))
    for source, message in [(tmp_path / "evil.pth", "evil.pth"), (tmp_path / "none.pth", "none.pth")]:
        with pytest.raises(BadInput, match=rf"no vgg weights from .*{message} .*; {REMEDY}"):
            REQUIRED.get(str(source), read_weights, dict)


def test_a_network_is_filled_frozen_or_refused() -> None:
    network = nn.Linear(2, 3)
    filled = REQUIRED.fill(network, nn.Linear(2, 3).state_dict())
    assert not filled.training
    assert not any(parameter.requires_grad for parameter in filled.parameters())
    with pytest.raises(BadInput, match=f"the vgg weights are another network's .*; {REMEDY}"):
        REQUIRED.fill(network, nn.Linear(3, 3).state_dict())


def test_a_file_is_known_by_its_checksum(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"weights")
    REQUIRED.check(tmp_path / "w.pth", hashlib.sha256(b"weights").hexdigest())
    with pytest.raises(BadInput, match=f"has SHA-256 .*; {REMEDY}"):
        REQUIRED.check(tmp_path / "w.pth", "0" * 64)
