"""Images become codes: the same bits for any number of workers and after any failure, each image once."""

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from bar_model import checkpoint, presets
from bar_model.bits import unpack_bits
from bar_model.errors import BadInput
from bar_model.tokenizer.tokenizer import Tokenizer
from pipeline.codes.folder import read_codes, verify
from pipeline.codes.plan import plan_units
from pipeline.codes.tokenize import EncodeImages, ReadImages, TokenizeConfig, tokenize
from pipeline.execution.manifest import Manifest
from pipeline.execution.quarantine import read_quarantine
from pipeline.execution.records import Records
from pipeline.images.class_folders import ImageFolder
from pipeline.images.codec import decode_and_crop, to_model
from pipeline.images.source import ListedImage, StoredImage
from pipeline.storage import Folder

pytest_plugins = ["tests.harness.fixtures_s3", "tests.harness.fixtures_ray"]


class SignOfPixels:
    """The smallest tokenizer: a token for each 16 × 16 pixels, of 3 bits that say which colours are bright there."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def encode(self, images: Float[Tensor, "batch 3 height width"]) -> Bool[Tensor, "batch tokens bits"]:
        self.shapes.append(tuple(images.shape))
        return torch.nn.functional.avg_pool2d(images, 16).flatten(2).transpose(1, 2) > 0


def picture(seed: int, kind: str = "PNG") -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize((50, 40), Image.Resampling.BICUBIC).save(file, kind)
    return file.getvalue()


def write_pictures(folder: Folder, num: int, broken: tuple[int, ...] = ()) -> None:
    for seed in range(num):
        data = picture(seed)
        folder.write(f"{'abc'[seed % 3]}/{seed:03d}.png", data[: len(data) // 2] if seed in broken else data)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tokenizer(tmp_path_factory.mktemp("models") / "tokenizer", seed=0)


def save_tokenizer(folder: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    checkpoint.save(Tokenizer(presets.TOKENIZERS["digits"]()), folder)
    return folder


NUM = 20
KEYS = sorted(f"{'abc'[seed % 3]}/{seed:03d}.png" for seed in range(NUM))


@pytest.fixture(scope="module")
def done(tokenizer: Path, ray_here: str, tmp_path_factory: pytest.TempPathFactory) -> TokenizeConfig:
    """A configuration whose codes are there, made by one worker without disturbance."""
    folder = tmp_path_factory.mktemp("tokenize")
    write_pictures(Folder(str(folder / "images")), NUM)
    config = TokenizeConfig(
        source=str(folder / "images"),
        tokenizer=str(tokenizer),
        out=str(folder / "codes"),
        views=("crop", "flip"),
        unit_size=2,
        batch_size=4,
        workers=1,
    )
    tokenize(config)
    return config


def shards(url: str) -> dict[str, bytes]:
    folder = Folder(url)
    return {entry.name: folder.read(entry.name) for entry in folder.list("codes-*")}


def test_views_are_encoded_and_packed_one_after_the_other() -> None:
    images = np.stack([decode_and_crop(picture(seed), 32) for seed in range(5)])
    encode = EncodeImages(SignOfPixels(), views=("crop", "flip"), batch_size=2, device="cpu")
    codes = encode({"images": images, "records": "[]"})["codes"]
    assert codes.shape == (5, 2 * 2)
    for view, pixels in enumerate([images, images[:, :, ::-1]]):
        bits = unpack_bits(torch.from_numpy(codes[:, 2 * view : 2 * view + 2]), 12)
        assert torch.equal(bits, SignOfPixels().encode(to_model(pixels)).flatten(1))


def test_every_batch_has_the_same_shape() -> None:
    spy = SignOfPixels()
    encode = EncodeImages(spy, views=("crop", "flip"), batch_size=4, device="cpu")
    for num in (4, 7, 1, 0):
        assert len(encode({"images": np.zeros((num, 32, 32, 3), np.uint8), "records": ""})["codes"]) == num
    assert set(spy.shapes) == {(8, 3, 32, 32)}
    assert len(spy.shapes) == 4


def test_a_broken_picture_is_kept_apart_with_its_reason(tmp_path: Path) -> None:
    images = tmp_path / "images"
    write_pictures(Folder(str(images)), 6, broken=(2,))
    (images / "b" / "empty.jpg").touch()
    source = ImageFolder.open(str(images))
    folder = Folder(str(tmp_path / "codes"))
    (unit,) = plan_units(folder, "tokenize", {}, source, 100, on_change="stop")
    row = ReadImages(source, folder, 32)(unit)
    keys, labels, quarantined = Records.from_json(row["records"])
    assert keys == ["a/000.png", "a/003.png", "b/001.png", "b/004.png", "c/005.png"]
    assert labels == [0, 0, 1, 1, 2]
    assert row["images"].shape == (5, 32, 32, 3)
    assert [(item.key, item.where) for item in quarantined] == [
        ("b/empty.jpg", f"{images}/b/empty.jpg"),
        ("c/002.png", f"{images}/c/002.png"),
    ]
    assert quarantined[0].why == "is empty"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"views": ()}, "views: none; give each once, of crop, flip"),
        ({"views": ("crop", "crop")}, "give each once"),
        ({"views": ("turn",)}, "views: turn"),
        ({"unit_size": 0}, "unit_size 0: must be at least 1"),
        ({"batch_size": -1}, "batch_size -1: must be at least 1"),
        ({"max_bad": 1.5}, "max_bad 1.5"),
        ({"workers": 0}, "workers 0: must be at least 1"),
    ],
)
def test_a_configuration_that_can_not_be_is_refused(fields: dict, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        TokenizeConfig(**{"source": "a", "tokenizer": "b", "out": "c", "views": ("crop",), **fields})


@pytest.mark.ray
def test_codes_are_the_tokenizers_bits_of_every_picture(done: TokenizeConfig) -> None:
    manifest = Manifest.read(Folder(done.out))
    assert (manifest.rows, len(manifest.files), manifest.num_quarantined) == (NUM, NUM // 2, 0)
    assert verify(done.out) == []
    model = checkpoint.load_tokenizer(done.tokenizer)
    table = read_codes(done.out, expect_tokenizer=checkpoint.fingerprint(model))
    assert table.keys == KEYS
    assert table.labels.tolist() == ["abc".index(key[0]) for key in KEYS]
    images = np.stack([decode_and_crop((Path(done.source) / key).read_bytes(), 32) for key in KEYS])
    for view, pixels in enumerate([images, images[:, :, ::-1]]):
        bits = unpack_bits(torch.from_numpy(table.codes[:, view]), table.metadata.shape.num_bits)
        assert (bits == model.encode(to_model(pixels)).flatten(1)).float().mean() > 0.999


@dataclass(frozen=True)
class CountedFolder(ImageFolder):
    """Notes each picture that is read."""

    log: str = ""

    def read(self, listed: Sequence[ListedImage]) -> Iterator[StoredImage]:
        with Path(self.log).open("a") as file:
            file.writelines(f"{image.key}\n" for image in listed)
        return super().read(listed)


@pytest.mark.ray
def test_broken_pictures_cost_themselves_and_a_second_run_reads_nothing(
    done: TokenizeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures(Folder(str(tmp_path / "images")), NUM, broken=(3, 17))
    config = replace(done, source=str(tmp_path / "images"), out=str(tmp_path / "codes"))
    source = ImageFolder.open(config.source)
    log = tmp_path / "log"
    counted = CountedFolder(source.url, source.classes, str(log))
    monkeypatch.setattr("pipeline.images.source_config.open_source", lambda *_, **__: counted)

    with pytest.raises(BadInput, match=r"can't be used, more than the share of 0.01 allowed .*raise max_bad"):
        tokenize(config)
    assert not Folder(config.out).exists("manifest-000001.json")
    kept = shards(config.out)
    log.write_text("")

    manifest = tokenize(replace(config, max_bad=0.1))
    assert manifest.rows == NUM - 2
    quarantined = read_quarantine(Folder(config.out), manifest).values()
    assert [item.key for items in quarantined for item in items] == ["a/003.png", "c/017.png"]
    assert read_codes(config.out).keys == [key for key in KEYS if key not in ("a/003.png", "c/017.png")]
    assert kept.items() <= shards(config.out).items()
    assert len(log.read_text().split()) <= NUM - 2 * len(kept)
    log.write_text("")
    assert tokenize(replace(config, max_bad=0.1)) == manifest
    assert log.read_text() == ""

    # The source grows, a picture is mended and another one goes: what is as it was is neither read nor encoded again.
    images = Folder(config.source)
    images.write("a/0005.png", picture(100))
    images.write("a/003.png", picture(3))
    with pytest.raises(BadInput, match=r"1 images are not as they were encoded, a/003.png has changed: restore"):
        tokenize(replace(config, max_bad=0.1))
    images.remove("b/001.png")
    assert log.read_text() == ""
    grown = tokenize(replace(config, on_change="reencode", max_bad=0.1))
    assert sorted(log.read_text().split()) == ["a/0005.png", "a/003.png"]
    assert (grown.generation, grown.rows, grown.num_quarantined) == (2, NUM - 2 + 2 - 1, 1)
    assert sorted(read_codes(config.out).keys) == sorted({*KEYS, "a/0005.png"} - {"c/017.png", "b/001.png"})
    assert verify(config.out) == []
    assert shards(config.out).items() >= kept.items()


@pytest.mark.ray
def test_a_source_that_was_copied_grew_by_a_class_and_moved_goes_on(
    done: TokenizeConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Folder(str(shutil.copytree(done.out, tmp_path / "codes")))
    images = shutil.copytree(
        done.source, tmp_path / "images", copy_function=shutil.copyfile
    )  # As `cp -r`: other times.
    config = replace(done, source=str(images), out=out.url)
    with pytest.raises(BadInput, match="give --source-moved"):
        tokenize(config)
    assert tokenize(replace(config, source_moved=True)) == Manifest.read(Folder(done.out))
    (images / "aa").mkdir()
    (images / "aa" / "0.png").write_bytes(picture(50))
    (images / "aa" / "notes.txt").touch()
    capsys.readouterr()
    assert tokenize(config).rows == NUM + 1
    printed = capsys.readouterr().out
    assert "4 classes: a → 0, aa → 3, b → 1, c → 2; 1 new: aa → 3" in printed
    ending = "21 images in 11 shards, 0 images quarantined; left out: 1 ending in .txt (aa/notes.txt)\n"
    assert printed.endswith(ending)
    table = read_codes(out.url)
    assert dict(zip(table.keys, table.labels.tolist(), strict=True)) == {
        **{key: "abc".index(key[0]) for key in KEYS},
        "aa/0.png": 3,
    }
    shutil.move(shutil.copytree(images, tmp_path / "again", copy_function=shutil.copyfile), tmp_path / "other")
    shutil.rmtree(images)
    (tmp_path / "other").rename(images)
    tokenize(config)
    printed = capsys.readouterr().out
    assert "nothing to do, all 21 images are done" in printed
    assert printed.endswith(ending)
    assert len(out.list("plan-*")) == 4


@pytest.mark.ray
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"views": ("crop",)}, r'codes.views: \["crop", "flip"\] there, \["crop"\] here'),
        ({"views": ("flip", "crop")}, r"codes\.views: "),
        ({"views": ("crop",), "unit_size": 7}, r"codes.views: .* there, .*; unit_size: 2 there, 7 here"),
        ({"batch_size": 8}, r"encoder\.batch_size: 4 there, 8 here"),
        ({"precision": "bfloat16"}, r'encoder\.precision: "float32" there, "bfloat16" here'),
        ({"classes": "classes.json"}, r"other class numbers \(a: 0 there, 3 here\)"),
        ({"num_classes": 2}, "label 2 is out of range"),
        ({"tokenizer": "other"}, r"codes\.tokenizer: "),
        ({"source": "elsewhere"}, r"source\.url: .*give --source-moved"),
        ({"source": "elsewhere", "source_moved": True}, r"elsewhere does not hold the images"),
    ],
)
def test_an_option_that_the_folder_was_not_made_with_is_refused(
    done: TokenizeConfig, tmp_path: Path, fields: dict, message: str
) -> None:
    """None is silently replaced by what lies there."""
    (tmp_path / "classes.json").write_text('{"a": 3, "b": 1, "c": 2}')
    save_tokenizer(tmp_path / "other", seed=1)
    write_pictures(Folder(str(tmp_path / "elsewhere")), 4)
    places = {name: str(tmp_path / fields[name]) for name in ("classes", "tokenizer", "source") if name in fields}
    before = shards(done.out)
    with pytest.raises(BadInput, match=message):
        tokenize(replace(done, **{**fields, **places}))
    assert shards(done.out) == before


@pytest.mark.ray
def test_bad_input_is_named_before_any_work(done: TokenizeConfig, tmp_path: Path) -> None:
    (tmp_path / "empty" / "a").mkdir(parents=True)
    for fields, message in [
        ({"source": str(tmp_path / "nothing")}, "nothing is not there"),
        ({"tokenizer": str(tmp_path / "nothing")}, "nothing is not there"),
        ({"classes": str(tmp_path / "nothing.json")}, "nothing.json"),
        ({"source": str(tmp_path / "empty")}, "there are no images to work on"),
        ({"workers": 9}, "choose fewer workers"),
    ]:
        with pytest.raises(BadInput, match=message):
            tokenize(replace(done, out=str(tmp_path / "codes"), **fields))
    assert shards(str(tmp_path / "codes")) == {}


DRIVER = """
import sys
from pipeline.cluster import ClusterConfig, connect
from pipeline.codes.tokenize import TokenizeConfig, tokenize
address, source, model, out = sys.argv[1:]
views = ("crop", "flip")
with connect(ClusterConfig(address=address)):
    tokenize(
        TokenizeConfig(source=source, tokenizer=model, out=out, views=views, unit_size=2, batch_size=4, workers=1)
    )
"""


@pytest.mark.ray
def test_on_s3_a_killed_driver_is_taken_up_by_more_workers_and_gives_the_undisturbed_bits(
    done: TokenizeConfig, ray_here: str, s3_folder: str
) -> None:
    there = replace(done, out=f"{s3_folder}/codes", workers=2)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", DRIVER, ray_here, there.source, there.tokenizer, there.out]
    driver = subprocess.Popen(command, env=environment)
    deadline = time.monotonic() + 200
    while len(shards(there.out)) < 3:
        assert driver.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    assert not Folder(there.out).exists("manifest-000001.json")

    # Two runs at once continue the same plan: both end well, and the slower one has verified the other's work.
    other = subprocess.Popen(command, env=environment)
    assert tokenize(there) == Manifest.read(Folder(done.out))
    assert other.wait(200) == 0
    assert len(Folder(there.out).list("manifest-*")) == len(Folder(there.out).list("plan-*")) == 1
    assert shards(there.out) == shards(done.out)
    assert read_codes(there.out).keys == KEYS
