"""A tokenizer that trains in no time, and images for it."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from bar_model.tokenizer.decoder import DecoderConfig
from bar_model.tokenizer.encoder import EncoderConfig
from bar_model.tokenizer.loss import FrozenNetworks, TokenizerLossConfig
from bar_model.tokenizer.tokenizer import TokenizerConfig
from pipeline.training.config import Cadence, WorkersConfig
from pipeline.training.learners import tokenizer as tokenizer_learner
from pipeline.training.learners.image_loader import list_images, open_images
from pipeline.training.learners.learner import take_step
from pipeline.training.learners.tokenizer import TokenizerLearner, TrainTokenizerConfig
from pipeline.training.step.optimizer import OptimizationConfig
from pipeline.training.step.ranks import Ranks

SIZE = 8


L2_ALONE = TokenizerLossConfig(l1=0.0, lpips=0.0, convnext=0.0, semantic=0.0, gram=0.0, adversarial=0.0)


def tiny_tokenizer() -> TokenizerConfig:
    """A tokenizer of four tokens with four bits each."""
    return TokenizerConfig(
        image_size=SIZE,
        patch=4,
        bits=4,
        encoder=EncoderConfig(width=16, depth=1, heads=2, mlp_width=32, position_grid=2, frozen_embeddings=False),
        decoder=DecoderConfig(width=16, depth=1, heads=2, semantic=None),
        balanced_start=True,
    )


def write_pictures(folder: Path, *, num: int = 12, height: int = 8, width: int = 8) -> str:
    """TrainingImages in two classes, each of one row of greys that rises to the right."""
    for index in range(num):
        pixels = np.broadcast_to(np.arange(width, dtype=np.uint8)[None, :, None] * 4 + index, (height, width, 3))
        path = folder / f"class-{index % 2}" / f"{index:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ascontiguousarray(pixels)).save(path)
    return str(folder)


def tiny_training(folder: Path, **changes: object) -> TrainTokenizerConfig:
    """Six steps of eight images, with the squared error as the only loss."""
    settings = {
        "source": str(folder / "pictures"),
        "out": str(folder / "out"),
        "model": tiny_tokenizer(),
        "loss": L2_ALONE,
        "steps": 6,
        "batch": 8,
        "optimization": OptimizationConfig(learning_rate=1e-2, warmup=0, weight_decay=0, average=0.9),
        "rfid": False,
        "cadence": Cadence(log_every=1),
        "workers": WorkersConfig(cpus=1),
    }
    return TrainTokenizerConfig(**{**settings, **changes})  # pyright: ignore[reportArgumentType]


def dino(images: Tensor) -> list[Tensor]:
    """Features in the shape that a DINO of four patches gives."""
    patches = torch.nn.functional.adaptive_avg_pool2d(images, 2).flatten(2).transpose(1, 2).repeat(1, 1, 128)
    return [torch.cat((patches.mean(1, keepdim=True), patches), dim=1) for _ in range(5)]


ADVERSARIAL = dataclasses.replace(L2_ALONE, adversarial=0.1, adversarial_start=0.4)
"""Of five steps, the fourth is then the discriminator's."""


def losses(config: TrainTokenizerConfig, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The losses of all steps, taken without Ray."""
    monkeypatch.setattr(tokenizer_learner, "load_frozen_networks", lambda *given: FrozenNetworks(dino=dino))
    pictures, _ = open_images(list_images(config.source), SIZE, memory_gb=1.0)
    torch.manual_seed(config.seed)
    learner = TokenizerLearner(config, {"pictures": pictures}, Ranks(), torch.device("cpu"))
    found = []
    for step in range(config.steps):
        take_step(learner, step, seed=config.seed, rank=0)
        found.append(learner.trainee_at(step).report()["loss"])
    return found
