"""How pictures are kept."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bar_model.errors import BadInput
from pipeline.samples.sample import SampleConfig
from tests.harness.drawn import drawn, save

pytestmark = pytest.mark.long

pytest_plugins = ["tests.harness.fixtures_sampling"]


def test_pictures_are_files_that_anybody_can_open(config: SampleConfig) -> None:
    config = replace(config, images="webp", files=True)
    folder, images = save(config), drawn(config).images
    names = [f"images/000000/{index:09d}.webp" for index in range(10)]
    assert [name for name, *_ in (folder.folder / "images").walk()] == [name.removeprefix("images/") for name in names]
    for name, image in zip(names, images, strict=True):
        np.testing.assert_array_equal(Image.open(Path(config.out, name)), image)
    remedy = "remove its shard and draw the samples again"
    Path(config.out, names[8]).write_bytes(Path(config.out, names[7]).read_bytes())
    with pytest.raises(BadInput, match=f"000000008.webp is not the picture that was drawn .*{remedy}"):
        folder.read()
    Path(config.out, names[8]).write_bytes(b"RIFF")
    with pytest.raises(BadInput, match=f"000000008.webp is damaged .*{remedy}"):
        folder.read()
    Path(config.out, names[8]).unlink()
    with pytest.raises(BadInput, match=f"000000008.webp is missing: {remedy}"):
        folder.read()
    folder.folder.remove(folder.manifest.files[1].name)
    save(config)
    np.testing.assert_array_equal(folder.read().images, images)
