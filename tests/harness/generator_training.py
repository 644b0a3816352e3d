"""A generator that trains in no time, and codes for it, whose bits follow from the label."""

from pathlib import Path

import numpy as np
import torch

from bar_model.bits import CodeShape
from bar_model.generator.bar import BarConfig
from bar_model.generator.sampling import Sampling
from bar_model.generator.transformer import TransformerConfig
from bar_model.heads.make_head import HeadConfig
from pipeline.codes.folder import CodeTable, read_codes
from pipeline.codes.shard import CodeMetadata
from pipeline.codes.table import Codes
from pipeline.tracking.start import TrackingConfig
from pipeline.training.config import Cadence, WorkersConfig
from pipeline.training.learners.generator import GeneratorLearner, TrainConfig
from pipeline.training.learners.learner import load_initial_weights, take_step
from pipeline.training.step.optimizer import OptimizationConfig
from pipeline.training.step.ranks import Ranks
from tests.harness.code_folders import write_codes

SHAPE = CodeShape(grid=2, bits=4)
NUM_CLASSES = 3
ALONE = Ranks()


def tiny_bar(*, dropout: float = 0.0) -> BarConfig:
    """A generator of one block."""
    return BarConfig(
        codes=SHAPE,
        num_classes=NUM_CLASSES,
        transformer=TransformerConfig(width=16, depth=1, heads=2, class_repeats=1, dropout=dropout),
        head=HeadConfig(width=16, depth=1),
        sampling=Sampling(guidance_scale=2.0, temperature=1.0, allocation=(2, 2)),
    )


def tiny_codes(
    folder: Path, *, num: int = 30, seed: int = 0, views: tuple[str, ...] = ("crop", "flip"), tokenizer: str = "0" * 16
) -> str:
    """A folder of codes as the tokenizing stage leaves it."""
    metadata = CodeMetadata(
        bits=SHAPE.bits, grid=SHAPE.grid, views=views, image_size=8, crop_rule="none", tokenizer=tokenizer
    )
    labels = (np.arange(num) % NUM_CLASSES).astype(np.int32)
    noise = np.random.default_rng(seed).integers(0, 4, (num, len(views), SHAPE.num_bytes), dtype=np.uint8)
    codes = (labels[:, None, None].astype(np.uint8) * 64) ^ noise
    write_codes(str(folder), CodeTable([f"image-{index}" for index in range(num)], labels, codes, metadata))
    return str(folder)


def tiny_training(folder: Path, **changes: object) -> TrainConfig:
    """Twelve steps of eight rows, everything due every third or fourth."""
    settings = {
        "out": str(folder / "out"),
        "codes": str(folder / "codes"),
        "model": tiny_bar(),
        "steps": 12,
        "batch": 8,
        "seed": 1,
        "optimization": OptimizationConfig(learning_rate=1e-2),
        "cadence": Cadence(log_every=1, checkpoint_every=3),
        "workers": WorkersConfig(cpus=1),
        "tracking": TrackingConfig(uri=f"sqlite:///{folder}/mlflow.db", spool=str(folder / "spool")),
    }
    return TrainConfig(**{**settings, **changes})  # pyright: ignore[reportArgumentType]


def learner(config: TrainConfig, ranks: Ranks = ALONE) -> GeneratorLearner:
    """The learner as a worker builds it."""
    table = read_codes(config.codes)
    torch.manual_seed(config.seed)
    built = GeneratorLearner(config, {"codes": Codes(table.labels, table.codes)}, ranks, torch.device("cpu"))
    load_initial_weights(built, config)
    return built


def losses(learner: GeneratorLearner, config: TrainConfig, steps: range) -> list[float]:
    """Takes these steps without Ray, and returns their losses."""
    found = []
    for step in steps:
        take_step(learner, step, seed=config.seed, rank=0)
        found.append(learner.trainees[0].report()["loss"])
    return found
