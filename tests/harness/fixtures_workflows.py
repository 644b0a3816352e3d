"""Weights of no size, a reference, and how they are judged, for workflows of several stages."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bar_model import checkpoint
from pipeline.evaluation.extract import ExtractConfig
from pipeline.features.networks import FeatureNetworksConfig
from pipeline.pretrained.inception import DIMS
from pipeline.tracking.start import TrackingConfig
from tests.harness.drawn import make_tokenizer
from tests.harness.tiny import make_bar, tiny_config


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    checkpoint.save(make_bar(tiny_config(), scale=0.2), tmp_path / "weights" / "generator")
    tokenizer = make_tokenizer()
    with torch.no_grad():
        for parameter in tokenizer.parameters():
            parameter.normal_(0, 0.3)  # At initialisation all pictures are nearly the same.
    checkpoint.save(tokenizer, tmp_path / "weights" / "tokenizer")
    return tmp_path / "weights"


@pytest.fixture
def reference(tmp_path: Path) -> str:
    """Moments alone, which are quick to compare with."""
    np.savez(tmp_path / "reference.npz", mu=np.zeros(DIMS), sigma=np.eye(DIMS))
    return str(tmp_path / "reference.npz")


@pytest.fixture
def extract(inception_file: tuple[str, str]) -> ExtractConfig:
    networks = FeatureNetworksConfig(inception=inception_file[0], inception_sha256=inception_file[1])
    return ExtractConfig(networks=networks, batch_size=4, workers=1)


@pytest.fixture
def kept(tmp_path: Path) -> TrackingConfig:
    return TrackingConfig(uri=f"sqlite:///{tmp_path}/mlflow.db", spool=str(tmp_path / "spool"))
