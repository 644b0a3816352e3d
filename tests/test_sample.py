"""Drawing: an image is a function of seed and number, files are whole, a second run draws nothing."""

import hashlib
import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from bar_model import checkpoint
from bar_model.bits import unpack_bits
from bar_model.decoder import DecoderConfig
from bar_model.encoder import EncoderConfig
from bar_model.errors import BadInput
from bar_model.tokenizer import Tokenizer, TokenizerConfig
from pipeline import npz
from pipeline.drawing import load_models
from pipeline.images import from_model
from pipeline.labels import Labels
from pipeline.manifest import Inputs, Manifest
from pipeline.provenance import plain
from pipeline.sample import SampleConfig, describe_drawing, drawing_work, plan, sample
from pipeline.samples import STAGE, Drawing, SampleFolder, Samples, read_samples, read_table
from pipeline.stages import publish
from pipeline.storage import Folder
from pipeline.units import Work, finish_unit
from pipeline.workers import Workers
from tests.tiny import make_bar, tiny_config

pytestmark = pytest.mark.long

pytest_plugins = ["tests.fixtures_s3", "tests.fixtures_ray"]


def make_tokenizer(*, bits: int = 6) -> Tokenizer:
    config = TokenizerConfig(
        image_size=16,
        patch=4,
        bits=bits,
        encoder=EncoderConfig(width=16, depth=1, heads=2, mlp_width=32, position_grid=4, frozen_embeddings=False),
        decoder=DecoderConfig(width=16, depth=1, heads=2, semantic=None),
        balanced_start=True,
    )
    return Tokenizer(config).eval()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Folders of a generator and of the tokenizer that fits it."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    checkpoint.save(make_bar(tiny_config(), scale=0.2), folder / "generator")
    checkpoint.save(make_tokenizer(), folder / "tokenizer")
    return str(folder / "generator"), str(folder / "tokenizer")


@pytest.fixture
def config(models: tuple[str, str], tmp_path: Path) -> SampleConfig:
    out = str(tmp_path / "samples")
    return SampleConfig(generator=models[0], tokenizer=models[1], out=out, num_images=10, batch_size=4, unit_size=8)


def described(config: SampleConfig, device: str = "cpu") -> tuple[Drawing, Labels]:
    return describe_drawing(config, device, Workers(num=1))


def work_of(config: SampleConfig) -> Work:
    drawing, labels = described(config)
    with_images = config.keeping.has_pixels
    build = partial(load_models, config.generator, config.tokenizer, drawing, labels, with_images=with_images)
    return drawing_work(drawing, config.keeping, build)


def drawn(config: SampleConfig) -> Samples:
    """What the stage draws, without Ray."""
    work = work_of(config)
    step = work.build()
    rows = [step(work.read(unit)) for unit in plan(config.first_index, config.num_images, config.unit_size)]
    return Samples(*(np.concatenate([row[name] for row in rows]) for name in ("indices", "labels", "images", "codes")))


def save(config: SampleConfig) -> SampleFolder:
    """The folder that the stage makes, without Ray; its reader knows the tokenizer."""
    folder, work = Folder(config.out), work_of(config)
    step = work.build()
    units = list(plan(config.first_index, config.num_images, config.unit_size))
    receipts = [finish_unit(folder, work, unit, step(work.read(unit))) for unit in units]
    publish(folder, STAGE, units, receipts, configuration={"drawing": plain(described(config)[0])})
    return SampleFolder.open(config.out, config.tokenizer)


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
    assert npz.main([config.out, "--tokenizer", config.tokenizer]) == 0
    data = Path(config.out, npz.NPZ).read_bytes()
    with np.load(io.BytesIO(data)) as archive:
        np.testing.assert_array_equal(archive["arr_0"], expected.images)
    assert data == raw_npz

    again = save(replace(config, out=f"{config.out}-again"))
    files = {name: folder.folder.read(name) for name, *_ in folder.folder.walk() if name != npz.NPZ}
    assert {name: again.folder.read(name) for name, *_ in again.folder.walk()} == files


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


def test_codes_alone_want_the_tokenizer_that_they_were_drawn_for(config: SampleConfig, tmp_path: Path) -> None:
    save(replace(config, images="none"))
    with pytest.raises(BadInput, match="holds codes without pictures: give the tokenizer, "):
        read_samples(config.out)
    torch.manual_seed(1)
    checkpoint.save(make_tokenizer(), tmp_path / "other")
    with pytest.raises(BadInput, match=r"is tokenizer \w+, but .* wants \w+"):
        read_samples(config.out, str(tmp_path / "other"))
    assert npz.main([config.out]) == 2


@pytest.mark.parametrize("damage", [lambda data: data[:-20], lambda data: b"", lambda data: data[:4] + data[99:]])
def test_a_damaged_file_is_named(config: SampleConfig, damage: Callable[[bytes], bytes]) -> None:
    folder = save(config)
    data = folder.folder.read(folder.manifest.files[0].name)
    with pytest.raises(BadInput, match="there is no sample shard, or damaged"):
        read_table(damage(data), "there")


def test_labels_are_cyclic_and_codes_belong_to_the_pictures(config: SampleConfig) -> None:
    samples = drawn(config)
    np.testing.assert_array_equal(samples.indices, np.arange(10))
    np.testing.assert_array_equal(samples.labels, [0, 1, 2, 3, 4, 0, 1, 2, 3, 4])
    np.testing.assert_array_equal(drawn(replace(config, labels=(4, 2), num_images=5)).labels, [4, 2, 4, 2, 4])
    bits = unpack_bits(torch.from_numpy(samples.codes), 96).unflatten(-1, (16, 6))
    tokenizer = checkpoint.load_tokenizer(config.tokenizer)
    np.testing.assert_array_equal(from_model(tokenizer.decode(bits[4:8])), samples.images[4:8])
    assert len(np.unique(samples.codes, axis=0)) == 10


def test_precision_is_part_of_how_images_are_drawn(config: SampleConfig) -> None:
    assert [described(config, device)[0].precision for device in ("cpu", "cuda")] == ["float32", "bfloat16"]
    bfloat16 = replace(config, precision="bfloat16")
    assert described(bfloat16)[0].precision == "bfloat16"
    assert len(np.unique(drawn(bfloat16).codes, axis=0)) == 10
    assert drawn(bfloat16).images.std() > 0


def test_an_image_does_not_depend_on_the_range_it_is_drawn_in(config: SampleConfig) -> None:
    whole = drawn(replace(config, num_images=21))
    for first, num in [(0, 1), (3, 2), (5, 16), (16, 5), (20, 1)]:
        part = drawn(replace(config, first_index=first, num_images=num))
        for one, other in zip(part, whole, strict=True):
            np.testing.assert_array_equal(one, other[first : first + num])


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
        ({"labels": (-1,)}, "labels, entry 1: -1"),
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


def test_models_that_change_under_way_are_noticed(config: SampleConfig) -> None:
    drawing, labels = described(config)
    with pytest.raises(BadInput, match="has changed since the run began"):
        load_models(config.generator, config.tokenizer, replace(drawing, generator="0" * 16), labels)


def digests(config: SampleConfig) -> dict[str, tuple[str, int]]:
    """Checksum and time of each file of samples."""
    files = sorted(Path(config.out).glob("*.parquet"))
    return {file.name: (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_mtime_ns) for file in files}


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


DRIVER = """
import sys
from pipeline.cluster import ClusterConfig, connect
from pipeline.sample import SampleConfig, sample
address, generator, tokenizer, out, images, workers = sys.argv[1:]
with connect(ClusterConfig(address=address, num_cpus=int(workers) + 1, object_store_gb=0.3)):
    sample(
        SampleConfig(
            generator=generator,
            tokenizer=tokenizer,
            out=out,
            num_images=int(images),
            batch_size=4,
            unit_size=4,
            workers=int(workers),
            images="webp",
            files=True,
        )
    )
"""


def start_driver(config: SampleConfig, address: str) -> subprocess.Popen[bytes]:
    """A process that draws the same with one worker, or with as many as the configuration says."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    settings = (config.generator, config.tokenizer, config.out, str(config.num_images), str(config.workers))
    return subprocess.Popen([sys.executable, "-c", DRIVER, address, *settings], env=environment)


def wait_for_shards(config: SampleConfig, num: int, is_alive: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 200
    while len(digests(config)) < num:
        assert is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def kill_a_worker(config: SampleConfig, num: int, stop: threading.Event, killed: list[int]) -> None:
    """SIGKILL to one of the actors of this process's cluster, once there are so many shards."""
    wait_for_shards(config, num, lambda: not stop.is_set())
    workers = [one for one in psutil.Process().children(recursive=True) if "MapWorker" in " ".join(one.cmdline())]
    workers[0].kill()
    killed.append(workers[0].pid)


def files_of(folder: Folder) -> dict[str, str]:
    return {
        name: hashlib.sha256(folder.read(name)).hexdigest() for name, *_ in folder.walk() if not name.endswith(".json")
    }


@pytest.mark.ray
def test_any_workers_and_any_death_give_the_same_files(config: SampleConfig, ray_here: str) -> None:
    """A driver is killed, two workers take over what it left, with holes in it, and one of those is killed, too."""
    config = replace(config, num_images=120, unit_size=4, images="webp", files=True, workers=1)
    undisturbed = save(replace(config, out=f"{config.out}-undisturbed"))

    driver = start_driver(config, ray_here)
    wait_for_shards(config, 4, lambda: driver.poll() is None)
    driver.kill()
    driver.wait()
    left = digests(config)
    assert len(left) < 20
    for name in list(left)[:2]:
        Path(config.out, name).unlink()

    stop, killed = threading.Event(), []
    killer = threading.Thread(target=kill_a_worker, args=(config, len(left) + 2, stop, killed))
    killer.start()
    manifest = sample(replace(config, workers=2))
    stop.set()
    killer.join()
    assert len(killed) == 1
    assert manifest.files == undisturbed.manifest.files
    assert files_of(Folder(config.out)) == files_of(undisturbed.folder)


@pytest.mark.slow
def test_four_workers_give_the_same_files(config: SampleConfig) -> None:
    config = replace(config, num_images=120, unit_size=4, images="webp", files=True, workers=4)
    undisturbed = save(replace(config, out=f"{config.out}-undisturbed"))
    driver = start_driver(config, "local")
    assert driver.wait() == 0
    assert files_of(Folder(config.out)) == files_of(undisturbed.folder)
