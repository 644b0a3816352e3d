"""Trainings of the generator, by the name of the model."""

import dataclasses
from collections.abc import Callable

import tyro

from bar_model import presets as models
from pipeline.training.config import Cadence, WorkersConfig
from pipeline.training.learners.generator import TrainConfig
from pipeline.training.step.optimizer import OptimizationConfig


def train_bar_b() -> TrainConfig:
    """ImageNet 256 px, as published: 400 epochs on eight GPUs for FID 1.13."""
    return TrainConfig(
        out=tyro.MISSING,
        codes=tyro.MISSING,
        model=models.bar_b(),
        steps=250_000,
        batch=2048,
        precision="bfloat16",
        optimization=OptimizationConfig(learning_rate=4e-4),
        cadence=Cadence(validate_every=5000, picture_every=5000, checkpoint_every=2500),
        workers=WorkersConfig(num=8, gpu=True, micro_batch=128, compiled=True),
    )


def train_bar_b_patch2() -> TrainConfig:
    """ImageNet 256 px in 64 tokens, as published: FID 1.35."""
    return dataclasses.replace(train_bar_b(), model=models.bar_b_patch2())


def train_bar_b_patch4() -> TrainConfig:
    """ImageNet 256 px in 16 tokens, as published: FID 2.34."""
    return dataclasses.replace(train_bar_b(), model=models.bar_b_patch4())


def train_bar_l() -> TrainConfig:
    """ImageNet 256 px, 1.1 B parameters, as published: FID 0.99."""
    return dataclasses.replace(
        train_bar_b(), model=models.bar_l(), workers=WorkersConfig(num=8, gpu=True, micro_batch=64, compiled=True)
    )


def train_bar_l_512() -> TrainConfig:
    """ImageNet 512 px, 1.1 B parameters, as published, in half as many steps: FID 1.09."""
    return dataclasses.replace(
        train_bar_b(),
        model=models.bar_l_512(),
        steps=125_000,
        workers=WorkersConfig(num=8, gpu=True, micro_batch=16, compiled=True),
    )


def train_bar_s() -> TrainConfig:
    """ImageNet 256 px with 28 M parameters on one small GPU, to try things out: 100 epochs, FID not measured."""
    return dataclasses.replace(
        train_bar_b(),
        model=models.bar_s(),
        steps=250_000,
        batch=512,
        workers=WorkersConfig(num=1, gpu=True, micro_batch=128, compiled=True),
    )


def train_digits() -> TrainConfig:
    """The handwritten digits, in minutes on two cores."""
    return TrainConfig(
        out=tyro.MISSING,
        codes=tyro.MISSING,
        model=models.digits(),
        steps=1800,
        batch=32,
        optimization=OptimizationConfig(learning_rate=2e-3, final_learning_rate=2e-5, warmup=0.1),
        cadence=Cadence(log_every=20, validate_every=300, picture_every=300, checkpoint_every=300),
        workers=WorkersConfig(cpus=1),
    )


TRAINING: dict[str, Callable[[], TrainConfig]] = {
    "bar-b": train_bar_b,
    "bar-b-patch2": train_bar_b_patch2,
    "bar-b-patch4": train_bar_b_patch4,
    "bar-l": train_bar_l,
    "bar-l-512": train_bar_l_512,
    "bar-s": train_bar_s,
    "digits": train_digits,
}
