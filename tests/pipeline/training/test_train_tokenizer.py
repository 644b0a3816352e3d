"""The tokenizer's training through Ray Train, and what is refused before any work."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from bar_model import checkpoint
from bar_model.bits import CodeShape
from bar_model.errors import BadInput
from pipeline.pretrained.tokenizer_losses import FrozenNetworksConfig
from pipeline.training.train_tokenizer import train_tokenizer
from tests.harness.random_inception import save_inception
from tests.harness.tokenizer_training import (
    L2_ALONE,
    tiny_training,
    write_pictures,
)

pytest_plugins = ["tests.harness.fixtures_s3", "tests.harness.fixtures_ray"]


@pytest.mark.ray
def test_a_tokenizer_is_trained_and_can_be_used(ray_here: str, tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures")
    inception = tmp_path / "inception.pth"
    config = tiny_training(
        tmp_path,
        held_out=write_pictures(tmp_path / "held_out", num=5),
        steps=40,
        rfid=True,
        networks=FrozenNetworksConfig(inception=str(inception), inception_sha256=save_inception(inception)),
    )
    trained = train_tokenizer(config)
    tokenizer = checkpoint.load_tokenizer(trained.model)
    assert tokenizer.config.codes == CodeShape(grid=2, bits=4)
    assert trained.metrics["validation/psnr"] > 10
    assert trained.metrics["validation/rfid"] > 0
    assert trained.metrics["tokenizer/l2"] == pytest.approx(trained.metrics["tokenizer/loss"])
    assert checkpoint.fingerprint(tokenizer) == trained.fingerprint
    copied = shutil.copytree(tmp_path / "pictures", tmp_path / "copied", copy_function=shutil.copyfile)
    moved = dataclasses.replace(config, source=str(copied))
    with pytest.raises(BadInput, match=r"pictures: .* there, .* here.*give --source-moved"):
        train_tokenizer(moved)
    assert train_tokenizer(dataclasses.replace(moved, source_moved=True)) == trained
    write_pictures(tmp_path / "pictures", num=13)
    with pytest.raises(BadInput, match=r"pictures: .* there, .* here"):
        train_tokenizer(config)
    with pytest.raises(BadInput, match=r"has 13 pictures, but .* was trained on 12"):
        train_tokenizer(dataclasses.replace(config, source_moved=True))


def test_what_is_missing_is_said_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is not there"):
        train_tokenizer(tiny_training(tmp_path))
    write_pictures(tmp_path / "pictures")
    wanting = dataclasses.replace(L2_ALONE, gram=1.0)
    with pytest.raises(BadInput, match="vgg"):
        train_tokenizer(
            tiny_training(tmp_path, loss=wanting, networks=FrozenNetworksConfig(vgg=str(tmp_path / "no.pth")))
        )
    with pytest.raises(BadInput, match=r"networks\.inception"):
        train_tokenizer(
            tiny_training(
                tmp_path,
                held_out=str(tmp_path / "pictures"),
                rfid=True,
                networks=FrozenNetworksConfig(inception=str(tmp_path / "no.pth")),
            )
        )
    assert not (tmp_path / "out").exists()
