"""Inception with random weights: Kaiming's, for the usual ones leave features of all but nothing."""

import hashlib
from pathlib import Path

import pytest
import torch
from torch import nn
from torch_fidelity import feature_extractor_inceptionv3 as library


def save_inception(path: Path) -> str:
    """Writes weights as torch-fidelity has them; returns their SHA-256."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(library.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        network = library.FeatureExtractorInceptionV3("inception", ["2048"])
    generator = torch.Generator().manual_seed(0)
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, generator=generator)
    torch.save(network.state_dict(), path)
    return hashlib.sha256(path.read_bytes()).hexdigest()
