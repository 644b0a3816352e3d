"""Tokenizing through Ray Data beside a plain loop over the same work, on the same cores.

python -m benchmarks.tokenizing       images/s of both, and bytes an image

The plain loop is one process with one thread: read, decode, crop, both views, encode, pack; no Ray, no files. As many
of them at once as there are cores tell what the machine has: two virtual cores may be one.
"""

import io
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import tyro
from PIL import Image

from bar_model import checkpoint, presets
from bar_model.tokenizer.tokenizer import Tokenizer, TokenizerConfig
from pipeline import cluster
from pipeline.cluster import ClusterConfig
from pipeline.codes.tokenize import EncodeImages, TokenizeConfig, tokenize
from pipeline.execution.determinism import use_one_thread
from pipeline.execution.manifest import Manifest
from pipeline.images.class_folders import ImageFolder
from pipeline.images.codec import decode_and_crop
from pipeline.images.source import in_portions
from pipeline.storage import Folder


@dataclass(frozen=True, kw_only=True)
class Config:
    """How much is tokenized, and by what."""

    num_images: int = 2048
    """JPEGs of 500 × 375 pixels, as ImageNet's are on average."""
    num_classes: int = 16
    encoder_depth: int = 2
    """Blocks of the encoder (bar-fsq-16: 27), of the width below (1152)."""
    encoder_width: int = 128
    workers: int | None = None
    unit_size: int = 32
    batch_size: int = 16


def main(config: Config) -> None:
    with tempfile.TemporaryDirectory(prefix="tokenizing") as root:
        folder = Path(root)
        write_jpegs(folder / "images", config.num_images, config.num_classes)
        torch.manual_seed(0)
        checkpoint.save(Tokenizer(small_tokenizer(config.encoder_width, config.encoder_depth)), folder / "tokenizer")
        plain = per_s(config.num_images, lambda: plain_loop(folder, config))
        print(f"plain loop, one thread: {plain:,.1f} images/s", flush=True)
        cores = len(os.sched_getaffinity(0))
        with ProcessPoolExecutor(cores, multiprocessing.get_context("spawn")) as pool:
            list(pool.map(plain_loop, [folder] * cores, [replace(config, num_images=0)] * cores))
            loops = [folder] * cores, [config] * cores
            at_once = per_s(cores * config.num_images, lambda: list(pool.map(plain_loop, *loops)))
        print(
            f"{cores} of them at once: {at_once:,.1f} images/s, {at_once / plain / cores:.2f} × {cores} × one",
            flush=True,
        )
        job = TokenizeConfig(
            source=str(folder / "images"),
            tokenizer=str(folder / "tokenizer"),
            out=str(folder / "codes"),
            views=("crop", "flip"),
            unit_size=config.unit_size,
            batch_size=config.batch_size,
            workers=config.workers,
        )
        with cluster.connect(ClusterConfig(address="local", object_store_gb=1)):
            tokenize(replace(job, source=warm_up(folder, config), out=str(folder / "warm")))
            ours = per_s(config.num_images, lambda: tokenize(job))
        manifest = Manifest.read(Folder(job.out))
        print(
            f"Ray Data, {cores} cores: {ours:,.1f} images/s, {ours / plain / cores:.2f} × cores × the plain loop, "
            f"{ours / at_once:.2f} × as many loops at once"
        )
        print(f"{manifest.num_bytes / manifest.rows:,.1f} bytes an image, {manifest.rows:,} images")


def small_tokenizer(width: int, depth: int) -> TokenizerConfig:
    """The published grid, bits and picture size around an encoder that a CPU can bear."""
    published = presets.TOKENIZERS["bar-fsq-16"]()
    encoder = replace(published.encoder, width=width, depth=depth, heads=4, mlp_width=4 * width)
    decoder = replace(published.decoder, width=64, depth=1, heads=2, semantic=None)
    return replace(published, encoder=encoder, decoder=decoder)


def plain_loop(folder: Path, config: Config) -> None:
    use_one_thread("cpu")
    source = ImageFolder.open(str(folder / "images"))
    pictures = islice(source.listing(), config.num_images)
    tokenizer = checkpoint.load_tokenizer(folder / "tokenizer")
    encode = EncodeImages(tokenizer, views=("crop", "flip"), batch_size=config.batch_size, device="cpu")
    size = tokenizer.config.image_size
    for some in in_portions(pictures, config.unit_size):
        images = [decode_and_crop((folder / "images" / picture.key).read_bytes(), size) for picture in some]
        encode({"images": np.stack(images), "records": ""})


def warm_up(folder: Path, config: Config) -> str:
    """A few pictures, for which Ray starts its processes."""
    write_jpegs(folder / "few", 8, 2)
    return str(folder / "few")


def write_jpegs(folder: Path, num: int, num_classes: int) -> None:
    """`n00012/00012_7.JPEG`: smooth noise, a few of which are drawn and then varied by their comment alone."""
    chance = np.random.default_rng(0)
    drawn = []
    for _ in range(min(num, 16)):
        noise = Image.fromarray(chance.integers(0, 256, (40, 50, 3), dtype=np.uint8))
        file = io.BytesIO()
        noise.resize((500, 375), Image.Resampling.BICUBIC).save(file, "JPEG", quality=92)
        drawn.append(file.getvalue())
    for number in range(num):
        label = number % num_classes
        path = folder / f"n{label:05d}" / f"{label:05d}_{number}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(drawn[number % len(drawn)])


def per_s(num: int, work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return num / (time.monotonic() - began)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__, args=sys.argv[1:]))
