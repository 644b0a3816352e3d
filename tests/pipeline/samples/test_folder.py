"""Sample shards: the same samples come back however they are kept, and what is damaged is named."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bar_model import checkpoint
from bar_model.errors import BadInput
from pipeline.samples import npz
from pipeline.samples.folder import read_samples
from pipeline.samples.sample import SampleConfig
from pipeline.samples.shard import Samples
from tests.harness.drawn import drawn, make_tokenizer, save

pytestmark = pytest.mark.long

pytest_plugins = ["tests.harness.fixtures_sampling", "tests.harness.fixtures_s3"]


KEEPINGS = [{"images": name} for name in ("png", "webp", "raw", "none")] + [
    {"images": name, "files": True} for name in ("png", "webp")
]


@pytest.fixture(scope="module")
def as_raw(models: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Samples, bytes]:
    """Some images as they are drawn, and the npz of their raw pixels."""
    out = str(tmp_path_factory.mktemp("raw") / "samples")
    settings = {"first_index": 3, "num_images": 15, "batch_size": 4, "unit_size": 8, "images": "raw"}
    config = SampleConfig(generator=models[0], tokenizer=models[1], out=out, **settings)  # pyright: ignore[reportArgumentType]
    folder = save(config)
    npz.write_npz(folder, npz.NPZ)
    return drawn(config), folder.folder.read(npz.NPZ)


@pytest.mark.parametrize("keeping", KEEPINGS, ids=str)
def test_samples_come_back_the_same_however_they_are_kept(
    config: SampleConfig, keeping: dict, as_raw: tuple[Samples, bytes]
) -> None:
    config = replace(config, first_index=3, num_images=15, **keeping)
    expected, raw_npz = as_raw
    folder = save(config)
    assert [file.rows for file in folder.manifest.files] == [5, 8, 2]
    for one, other in zip(folder.read(), expected, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    npz.write_samples_npz(npz.NpzConfig(folder=config.out, tokenizer=config.tokenizer))
    data = Path(config.out, npz.NPZ).read_bytes()
    with np.load(io.BytesIO(data)) as archive:
        np.testing.assert_array_equal(archive["arr_0"], expected.images)
    assert data == raw_npz

    again = save(replace(config, out=f"{config.out}-again"))
    files = {name: folder.folder.read(name) for name, *_ in folder.folder.walk() if name != npz.NPZ}
    assert {name: again.folder.read(name) for name, *_ in again.folder.walk()} == files


def test_codes_alone_need_the_tokenizer_that_they_were_drawn_for(config: SampleConfig, tmp_path: Path) -> None:
    save(replace(config, images="none"))
    with pytest.raises(BadInput, match="holds codes without pictures: give the tokenizer, "):
        read_samples(config.out)
    torch.manual_seed(1)
    checkpoint.save(make_tokenizer(), tmp_path / "other")
    with pytest.raises(BadInput, match=r"is tokenizer \w+, but .* was drawn with \w+"):
        read_samples(config.out, str(tmp_path / "other"))
