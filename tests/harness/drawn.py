"""A tiny tokenizer, and what the sampling stage draws and writes, without Ray."""

import hashlib
from functools import partial
from pathlib import Path

import numpy as np

from bar_model.configuration import plain
from bar_model.tokenizer.decoder import DecoderConfig
from bar_model.tokenizer.encoder import EncoderConfig
from bar_model.tokenizer.tokenizer import Tokenizer, TokenizerConfig
from pipeline.execution.ray_data import Workers
from pipeline.execution.stage import publish
from pipeline.execution.unit import Work, finish_unit
from pipeline.samples.folder import STAGE, SampleFolder
from pipeline.samples.labels import LabelSchedule
from pipeline.samples.sample import SampleConfig, describe_drawing, drawing_work, plan
from pipeline.samples.shard import Drawing, Samples
from pipeline.samples.worker import load_models
from pipeline.storage import Folder


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


def described(config: SampleConfig, device: str = "cpu") -> tuple[Drawing, LabelSchedule]:
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


def digests(config: SampleConfig) -> dict[str, tuple[str, int]]:
    """Checksum and time of each file of samples."""
    files = sorted(Path(config.out).glob("*.parquet"))
    return {file.name: (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_mtime_ns) for file in files}
