"""Trainings of tokenizers, by the name of the tokenizer."""

from collections.abc import Callable

import tyro

from bar_model import presets as models
from bar_model.tokenizer.loss import TokenizerLossConfig
from bar_model.tokenizer.tokenizer import TokenizerConfig
from pipeline.training.config import Cadence, WorkersConfig
from pipeline.training.learners.tokenizer import TrainTokenizerConfig
from pipeline.training.step.optimizer import OptimizationConfig


def train_bar_fsq(model: TokenizerConfig) -> TrainTokenizerConfig:
    """The published recipe, on eight GPUs."""
    return TrainTokenizerConfig(
        out=tyro.MISSING,
        source=tyro.MISSING,
        model=model,
        steps=200_000,
        batch=256,
        precision="bfloat16",
        optimization=OptimizationConfig(
            learning_rate=1e-4, warmup=0.05, betas=(0.9, 0.999), weight_decay=0.0, average=0.999
        ),
        encoder_learning_rate=0.1,
        cadence=Cadence(validate_every=5000, picture_every=5000, checkpoint_every=2500),
        workers=WorkersConfig(num=8, gpu=True, micro_batch=32),
    )


def train_digits_tokenizer() -> TrainTokenizerConfig:
    """The handwritten digits, from scratch and without frozen networks, in minutes on two cores."""
    return TrainTokenizerConfig(
        out=tyro.MISSING,
        source=tyro.MISSING,
        model=models.digits_tokenizer(),
        steps=1200,
        batch=32,
        optimization=OptimizationConfig(
            learning_rate=2e-3,
            final_learning_rate=2e-5,
            warmup=0.05,
            betas=(0.9, 0.999),
            weight_decay=0.0,
            average=0.99,
        ),
        loss=TokenizerLossConfig(l1=0.1, l2=1.0, lpips=0.0, convnext=0.0, semantic=0.0, gram=0.0, adversarial=0.0),
        flip=False,
        rfid=False,
        cadence=Cadence(log_every=20, validate_every=200, picture_every=200, checkpoint_every=200),
        workers=WorkersConfig(cpus=1),
    )


def _published(name: str) -> Callable[[], TrainTokenizerConfig]:
    def preset() -> TrainTokenizerConfig:
        return train_bar_fsq(models.TOKENIZERS[name]())

    preset.__doc__ = f"{models.TOKENIZERS[name].__doc__} As published, on eight GPUs."
    return preset


TOKENIZER_TRAINING: dict[str, Callable[[], TrainTokenizerConfig]] = {
    **{name: _published(name) for name in models.TOKENIZERS if name.startswith("bar-fsq")},
    "digits": train_digits_tokenizer,
}
