"""Drawing: an image is a function of seed and number, files are whole, a second run draws nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bar_model import checkpoint
from bar_model.errors import BadInput
from pipeline.evaluation.extract import ExtractConfig, extract
from pipeline.evaluation.image_sets import open_image_set
from pipeline.execution.manifest import Inputs, Manifest
from pipeline.features.networks import FeatureNetworksConfig
from pipeline.pretrained.inception import Inception
from pipeline.samples.folder import SampleFolder, read_samples
from pipeline.samples.sample import SampleConfig, plan, sample
from pipeline.storage import Folder
from tests.harness.drawn import described, digests, drawn, make_tokenizer
from tests.harness.tiny import make_bar, tiny_config

pytestmark = pytest.mark.long

pytest_plugins = [
    "tests.harness.fixtures_sampling",
    "tests.harness.fixtures_inception",
    "tests.harness.fixtures_s3",
    "tests.harness.fixtures_ray",
]


def test_precision_is_part_of_how_images_are_drawn(config: SampleConfig) -> None:
    assert [described(config, device)[0].precision for device in ("cpu", "cuda")] == ["float32", "bfloat16"]
    bfloat16 = replace(config, precision="bfloat16")
    assert described(bfloat16)[0].precision == "bfloat16"
    assert len(np.unique(drawn(bfloat16).codes, axis=0)) == 10
    assert drawn(bfloat16).images.std() > 0


def test_units_cover_a_range_once_and_part_at_multiples() -> None:
    for first, num, size in [(0, 10, 4), (3, 10, 4), (7, 1, 4), (8, 8, 4), (0, 1000, 200)]:
        units = list(plan(first, num, size))
        indices = np.concatenate([np.arange(*unit.payload) for unit in units])
        np.testing.assert_array_equal(indices, np.arange(first, first + num))
        assert all(unit.payload[0] % size == 0 for unit in units[1:])
        assert [unit.index for unit in units] == list(range(len(units)))
        assert sum(unit.size for unit in units) == num


def test_seed_and_settings_change_the_images(config: SampleConfig) -> None:
    changes = [{}, {"seed": 1}, {"guidance_scale": 20.0}, {"temperature": 0.5}, {"allocation": (2, 4)}]
    codes = [drawn(replace(config, **change)).codes.tobytes() for change in changes]
    assert len(set(codes)) == len(codes)


def test_unset_settings_are_the_generators_own(config: SampleConfig) -> None:
    own = described(config)[0].sampling
    assert own == tiny_config().sampling
    assert described(replace(config, temperature=0.5))[0].sampling == replace(own, temperature=0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": (0, 5)}, "labels, entry 2: 5; the generator knows the classes 0 to 4"),
        ({"labels": (-1,)}, "labels -1: must be at least 0"),
        ({"labels_file": "nowhere.json"}, "nowhere.json is not there"),
        ({"allocation": (2, 2)}, "allocation"),
        ({"guidance_scale": 0.5}, "guidance_scale 0.5"),
        ({"generator": "nowhere"}, "nowhere is not there"),
    ],
)
def test_what_can_not_be_drawn_is_named_before_work_starts(config: SampleConfig, change: dict, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        described(replace(config, **change))


def test_a_tokenizer_that_does_not_fit_is_named(config: SampleConfig, tmp_path: Path) -> None:
    checkpoint.save(make_tokenizer(bits=7), tmp_path / "other")
    with pytest.raises(BadInput, match=r"grid 4 and 7 bits, but .* grid 4 and 6 bits: give the tokenizer"):
        described(replace(config, tokenizer=str(tmp_path / "other")))


def test_a_tokenizer_of_other_weights_than_the_codes_is_named(config: SampleConfig, tmp_path: Path) -> None:
    """Its codes have the right shape, and would decode to nonsense without a word."""
    checkpoint.save(make_bar(tiny_config()), tmp_path / "trained" / "model")
    Manifest(
        stage="train",
        generation=1,
        configuration={"tokenizer": "0" * 16},
        inputs=Inputs(1, "codes"),
        files=(),
    ).commit(Folder(str(tmp_path / "trained")))
    with pytest.raises(BadInput, match="was trained on the codes of 0000000000000000: give that one"):
        described(replace(config, generator=str(tmp_path / "trained" / "model")))


@pytest.mark.parametrize(
    "change",
    [
        {"num_images": 0},
        {"unit_size": 6},
        {"seed": 2**32},
        {"first_index": -1},
        {"labels": ()},
        {"files": True, "images": "raw"},
        {"npz": True, "images": "none"},
    ],
)
def test_an_impossible_configuration_is_refused(config: SampleConfig, change: dict) -> None:
    with pytest.raises(BadInput, match=next(iter(change))):
        replace(config, **change)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_here")
def test_a_folder_is_drawn_once_and_completed_where_files_are_missing(config: SampleConfig) -> None:
    expected = drawn(config)
    manifest = sample(replace(config, workers=2, npz=True))
    with np.load(Path(config.out, "samples.npz")) as archive:
        np.testing.assert_array_equal(archive["arr_0"], expected.images)
    assert (manifest.rows, len(manifest.files)) == (10, 2)
    for one, other in zip(read_samples(config.out), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    first = digests(config)

    assert sample(replace(config, batch_size="auto")) == manifest
    assert digests(config) == first

    lost = Path(config.out, manifest.files[1].name)
    lost.unlink()
    with pytest.raises(BadInput, match="is missing: draw the samples again"):
        read_samples(config.out)
    sample(replace(config, workers=1))
    second = digests(config)
    assert {name: sha256 for name, (sha256, _) in second.items()} == {
        name: sha256 for name, (sha256, _) in first.items()
    }
    assert [name for name in first if first[name] != second[name]] == [lost.name]

    lost.write_bytes(lost.read_bytes()[:-1] + b"?")
    with pytest.raises(BadInput, match="is not the file that the manifest names"):
        read_samples(config.out)

    assert SampleFolder.open(config.out).drawing == described(config)[0]
    with pytest.raises(BadInput, match=r"drawing\.seed: 0 there, 1 here"):
        sample(replace(config, seed=1))
    with pytest.raises(BadInput, match="num_images: 10 there, 3 here"):
        sample(replace(config, num_images=3))


@pytest.mark.ray
@pytest.mark.usefixtures("ray_here")
def test_features_are_handed_on_without_a_picture(
    config: SampleConfig, inception_file: tuple[str, str], inception: Inception, tmp_path: Path
) -> None:
    path, sha256 = inception_file
    networks = FeatureNetworksConfig(inception=path, inception_sha256=sha256)
    images = drawn(config).images
    config = replace(config, images="none", features=True, networks=networks, num_images=7, first_index=2, workers=1)
    with pytest.raises(BadInput, match="nowhere is not there"):
        sample(replace(config, networks=replace(networks, inception="nowhere")))
    sample(config)

    # Neither the network's weights nor the tokenizer are asked for again.
    elsewhere = ExtractConfig(networks=replace(networks, inception="nowhere"), workers=1)
    seen = extract(open_image_set(config.out), str(tmp_path / "features"), elsewhere)
    keys, features, _ = map(list, zip(*seen.shards(), strict=True))
    assert [key for some in keys for key in some] == [str(index) for index in range(2, 9)]
    expected = [inception(torch.from_numpy(images[start : start + 4]).permute(0, 3, 1, 2)) for start in (0, 4, 8)]
    for name in expected[0]:
        found = np.concatenate([shard[name] for shard in features])
        np.testing.assert_allclose(found, torch.cat([each[name] for each in expected])[2:9], rtol=1e-4, atol=1e-4)
    with pytest.raises(BadInput, match=r"features: .* there, null here"):
        sample(replace(config, features=False))
