"""Inception with random weights, in a file and as it is loaded."""

import pytest
import torch

from pipeline.pretrained.inception import Inception, load_inception
from tests.harness.random_inception import save_inception


@pytest.fixture(scope="session")
def inception_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Path and SHA-256 of its weights."""
    path = tmp_path_factory.mktemp("inception") / "inception.pth"
    return str(path), save_inception(path)


@pytest.fixture(scope="session")
def inception(inception_file: tuple[str, str]) -> Inception:
    return load_inception(*inception_file, torch.device("cpu"))
