"""A tokenizer is judged by its reconstructions: pair by pair, and as a set."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from bar_model import checkpoint
from pipeline.evaluation.evaluate_tokenizer import (
    EvaluateTokenizerConfig,
    Reconstructions,
    evaluate_tokenizer,
    reconstructions_shown,
)
from pipeline.evaluation.extract import ExtractConfig
from pipeline.evaluation.image_sets import open_image_set
from pipeline.features.networks import FeatureNetworksConfig
from pipeline.images.codec import decode_and_crop, from_model, to_model, to_png
from pipeline.metrics.frechet import frechet_distance, moments
from pipeline.metrics.pixels import psnr, ssim
from pipeline.pretrained.inception import Inception
from tests.harness.drawn import make_tokenizer

pytest_plugins = ["tests.harness.fixtures_inception", "tests.harness.fixtures_s3", "tests.harness.fixtures_ray"]

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)


class FirstPixel:
    """The smallest extractor."""

    def __call__(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"pool3": images[:, :, 0, 0].float()}


class Difference(nn.Module):
    """In LPIPS's place, for its weights are not here: (N, 1, 1, 1) of pictures around [-1, 1]."""

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return (first - second).abs().amax((1, 2, 3), keepdim=True)


def test_reconstructions_are_compared_with_their_own_pictures() -> None:
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    made = from_model(tokenizer.decode(tokenizer.encode(to_model(IMAGES))))
    images = torch.from_numpy(IMAGES).permute(0, 3, 1, 2)
    found = Reconstructions(tokenizer, FirstPixel(), Difference(), torch.device("cpu"))(images)
    np.testing.assert_array_equal(found["pool3"].numpy(), made[:, 0, 0])
    np.testing.assert_allclose(found["psnr"][:, 0], psnr(IMAGES, made), rtol=1e-6)
    torch.testing.assert_close(found["ssim"][:, 0], ssim(images, torch.from_numpy(made).permute(0, 3, 1, 2)))
    worst = np.abs(IMAGES.astype(float) - made).max(axis=(1, 2, 3)) / 127.5
    np.testing.assert_allclose(found["lpips"][:, 0], worst, rtol=1e-5)
    assert "lpips" not in Reconstructions(tokenizer, FirstPixel(), None, torch.device("cpu"))(images)


def test_pictures_are_shown_beside_their_reconstructions(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    np.savez(tmp_path / "a.npz", arr_0=IMAGES)
    shown = reconstructions_shown(open_image_set(str(tmp_path / "a.npz")), tokenizer)
    assert "The first 5 pictures" in shown.about
    with Image.open(io.BytesIO(shown.picture)) as drawn:
        pixels = np.asarray(drawn)
    made = from_model(tokenizer.decode(tokenizer.encode(to_model(IMAGES))))
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (64, 64, 3))[:, :, 0]
    for picture in (IMAGES[4], made[4]):
        large = picture.repeat(4, axis=0).repeat(4, axis=1)
        assert (windows == large).all(axis=(2, 3, 4)).any()


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_tokenizer_is_judged_on_a_folder(
    inception: Inception, inception_file: tuple[str, str], ray_here: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    checkpoint.save(tokenizer, tmp_path / "tokenizer")
    for index, picture in enumerate(IMAGES):
        path = tmp_path / "pictures" / "class" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(to_png(picture))
    networks = FeatureNetworksConfig(inception=inception_file[0], inception_sha256=inception_file[1])
    config = EvaluateTokenizerConfig(
        tokenizer=str(tmp_path / "tokenizer"),
        source=str(tmp_path / "pictures"),
        out=str(tmp_path / "report"),
        lpips=False,
        extract=ExtractConfig(networks=networks, batch_size=2, workers=1),
    )
    values = {figure.name: value for figure, value in evaluate_tokenizer(config).results}
    made = from_model(tokenizer.decode(tokenizer.encode(to_model(IMAGES))))
    seen = [inception.features(torch.from_numpy(some).permute(0, 3, 1, 2)).numpy() for some in (made, IMAGES)]
    assert values["rfid"] == pytest.approx(frechet_distance(*map(moments, seen)), rel=1e-3)
    assert values["psnr"] == pytest.approx(psnr(IMAGES, made).mean(), rel=1e-5)
    assert set(values) == {"rfid", "psnr", "ssim"}
    np.testing.assert_array_equal(decode_and_crop(to_png(IMAGES[0]), 16), IMAGES[0])
    document = json.loads((tmp_path / "report" / "report.json").read_bytes())
    assert "none of samples" in document["results"]["rfid"]["title"]
    assert "<h2>Reconstructions</h2>" in (tmp_path / "report" / "report.html").read_text()
