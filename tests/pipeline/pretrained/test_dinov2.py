"""FD-DINOv2's features, of a small network with random weights, against Pillow and the network itself."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Dinov2Config, Dinov2Model

from bar_model.errors import BadInput
from pipeline.features.networks import FeatureNetworksConfig
from pipeline.pretrained.dinov2 import DEVIATION, INPUT_SIDE, MEAN, dinov2_sha256, load_dinov2

pytest_plugins = ["tests.harness.fixtures_inception"]
pytestmark = pytest.mark.long

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 40, 40, 3), dtype=np.uint8)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    config = Dinov2Config(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=70, patch_size=14)
    url = str(tmp_path_factory.mktemp("dinov2"))
    Dinov2Model(config).save_pretrained(url)
    return url


def test_features_are_the_class_token_of_pictures_as_pillow_resizes_them(folder: str) -> None:
    found = load_dinov2(folder, dinov2_sha256(folder), CPU)(torch.from_numpy(IMAGES).permute(0, 3, 1, 2))["dinov2"]
    size, bicubic = (INPUT_SIDE, INPUT_SIDE), Image.Resampling.BICUBIC
    channels = [
        [np.asarray(Image.fromarray(picture[..., c].astype(np.float32), "F").resize(size, bicubic)) for c in range(3)]
        for picture in IMAGES
    ]
    pixels = (np.array(channels) / 255 - np.array(MEAN)[:, None, None]) / np.array(DEVIATION)[:, None, None]
    network = Dinov2Model.from_pretrained(folder).eval()
    with torch.no_grad():
        expected = network(torch.from_numpy(pixels).float()).last_hidden_state[:, 0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_its_weights_are_part_of_what_features_depend_on(folder: str, inception_file: tuple[str, str]) -> None:
    path, sha256 = inception_file
    alone = FeatureNetworksConfig(inception=path, inception_sha256=sha256)
    both = FeatureNetworksConfig(inception=path, inception_sha256=sha256, dinov2=folder)
    assert alone.identity == {"inception": sha256}
    assert both.identity == {"inception": sha256, "dinov2": dinov2_sha256(folder)}
    assert both.for_workers().identity == both.identity
    seen = both.load(CPU)(torch.from_numpy(IMAGES).permute(0, 3, 1, 2))
    assert {name: each.shape[1] for name, each in seen.items()} == {
        "pool3": 2048,
        "spatial": 2023,
        "logits": 1008,
        "dinov2": 16,
    }
    with pytest.raises(BadInput, match="SHA-256"):
        FeatureNetworksConfig(inception=path, inception_sha256=sha256, dinov2=folder, dinov2_sha256="0" * 64).load(CPU)
    with pytest.raises(BadInput, match=r"holds no model\.safetensors"):
        dinov2_sha256(str(Path(path).parent))
