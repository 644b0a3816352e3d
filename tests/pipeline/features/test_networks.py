"""The networks whose features are compared: named by their weights, loaded as one extractor."""

from pathlib import Path

import pytest
import torch

from pipeline.features import networks
from pipeline.features.networks import FeatureNetworksConfig
from pipeline.pretrained.inception import SHA256


def test_networks_are_named_by_their_weights_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here = FeatureNetworksConfig(inception="a/inception.pth", dinov2="dinov2", dinov2_sha256="d" * 64)
    assert here.identity == {"inception": SHA256, "dinov2": "d" * 64}
    assert FeatureNetworksConfig().identity == {"inception": SHA256}
    there = here.for_workers()
    assert (there.inception, there.dinov2) == (f"{tmp_path}/a/inception.pth", f"{tmp_path}/dinov2")
    assert there.identity == here.identity


def test_features_of_all_networks_come_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "load_inception", lambda *_: lambda images: {"pool3": images.sum((2, 3))})
    monkeypatch.setattr(networks, "load_dinov2", lambda *_: lambda images: {"dinov2": images.amax((2, 3))})
    images, cpu = torch.ones(2, 3, 4, 4), torch.device("cpu")
    assert set(FeatureNetworksConfig().load(cpu)(images)) == {"pool3"}
    both = FeatureNetworksConfig(dinov2="dinov2", dinov2_sha256="d" * 64).load(cpu)(images)
    assert (both["pool3"][0, 0], both["dinov2"][0, 0]) == (16, 1)
