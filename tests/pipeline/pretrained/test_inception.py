"""Inception's features against the network's own parts, carried out one by one."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x as resize

from pipeline.pretrained.inception import Inception

pytestmark = pytest.mark.long

pytest_plugins = ["tests.harness.fixtures_inception"]


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 3, 40, 40), dtype=np.uint8))


def test_spatial_features_are_seven_channels_of_the_first_branch_channels_last(
    inception: Inception, inception_file: tuple[str, str], images: torch.Tensor
) -> None:
    network = FeatureExtractorInceptionV3("inception", ["2048"], inception_file[0])
    x = (resize(images.float(), size=(299, 299), align_corners=False) - 128) / 128
    for name, part in network.named_children():
        if name == "Mixed_6d":
            break
        x = part(x)
    weight, norm = network.Mixed_6d.branch1x1.conv.weight, network.Mixed_6d.branch1x1.bn
    assert norm.running_var is not None
    assert norm.running_mean is not None
    made = F.conv2d(x, weight[:7])
    scale = norm.weight[:7] / (norm.running_var[:7] + norm.eps).sqrt()
    made = ((made - norm.running_mean[:7, None, None]) * scale[:, None, None] + norm.bias[:7, None, None]).relu()
    found = inception(images)["spatial"]
    assert found.shape == (3, 17 * 17 * 7)
    assert found.dtype == torch.float32
    for row, column, channel in [(0, 0, 0), (0, 0, 6), (0, 1, 0), (5, 11, 3), (16, 16, 6)]:
        place = (row * 17 + column) * 7 + channel
        torch.testing.assert_close(found[:, place], made[:, channel, row, column], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.sum(1), made.sum((1, 2, 3)), rtol=1e-4, atol=1e-3)


def test_logits_are_those_of_pool3_without_bias(inception: Inception, inception_file: tuple[str, str]) -> None:
    weights = torch.load(inception_file[0], weights_only=True)
    assert weights["fc.bias"].abs().max() > 0
    found = inception(torch.zeros(2, 3, 16, 16, dtype=torch.uint8))
    torch.testing.assert_close(found["logits"], found["pool3"] @ weights["fc.weight"].T, rtol=1e-5, atol=1e-5)


def test_features_are_of_each_picture_alone(inception: Inception, images: torch.Tensor) -> None:
    together = inception(images)
    for name, each in together.items():
        assert each.std(0).max() > 1e-3, "dead features would prove nothing"
        swapped = inception(images.flip(0))[name].flip(0)
        torch.testing.assert_close(swapped, each, rtol=0, atol=0)
        assert each.is_contiguous()


def test_other_settings_of_the_process_come_back(inception: Inception, images: torch.Tensor) -> None:
    torch.set_float32_matmul_precision("high")
    try:
        inception(images[:1])
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")
