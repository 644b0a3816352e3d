"""The jobs' configurations by name: what each is for, what it takes, and what it reaches."""

import dataclasses
from collections.abc import Callable

import tyro

from bar_model import presets as models
from bar_model.tokenizer.loss import TokenizerLossConfig
from bar_model.tokenizer.tokenizer import TokenizerConfig
from pipeline.codes.tokenize import TokenizeConfig
from pipeline.digits.evaluate_digits import EvaluateDigitsConfig
from pipeline.evaluation.evaluate_samples import EvaluateConfig
from pipeline.evaluation.evaluate_tokenizer import EvaluateTokenizerConfig
from pipeline.samples.sample import SampleConfig
from pipeline.training.config import Cadence, WorkersConfig
from pipeline.training.learners.generator import TrainConfig
from pipeline.training.learners.tokenizer import TrainTokenizerConfig
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


def sample_imagenet() -> SampleConfig:
    """ImageNet as FID is published: 50,000 images, labels cyclic, with the generator's own guidance."""
    return SampleConfig(generator=tyro.MISSING, tokenizer=tyro.MISSING, out=tyro.MISSING)


def sample_digits() -> SampleConfig:
    """1,000 digits, labels cyclic, with the generator's own guidance."""
    return SampleConfig(
        generator=tyro.MISSING, tokenizer=tyro.MISSING, out=tyro.MISSING, num_images=1000, batch_size=100, unit_size=200
    )


SAMPLING: dict[str, Callable[[], SampleConfig]] = {"imagenet": sample_imagenet, "digits": sample_digits}


def evaluate_imagenet() -> EvaluateConfig:
    """ImageNet as FID is published: 50,000 samples of each seed by ADM's rules, against its npz or other pictures."""
    return EvaluateConfig(samples=tyro.MISSING, reference=tyro.MISSING, out=tyro.MISSING)


def evaluate_digits() -> EvaluateDigitsConfig:
    """Samples of digits against real scans: read right, varied, no copies."""
    return EvaluateDigitsConfig(
        samples=tyro.MISSING,
        unguided_samples=tyro.MISSING,
        tokenizer=tyro.MISSING,
        train=tyro.MISSING,
        held_out=tyro.MISSING,
        out=tyro.MISSING,
    )


def evaluate_tokenizer() -> EvaluateTokenizerConfig:
    """What a tokenizer keeps of pictures: rFID, PSNR, SSIM and LPIPS. None of these is a figure of samples."""
    return EvaluateTokenizerConfig(tokenizer=tyro.MISSING, source=tyro.MISSING, out=tyro.MISSING)


EVALUATION: dict[str, Callable[[], EvaluateConfig | EvaluateTokenizerConfig | EvaluateDigitsConfig]] = {
    "imagenet": evaluate_imagenet,
    "tokenizer": evaluate_tokenizer,
    "digits": evaluate_digits,
}


def tokenize_imagenet() -> TokenizeConfig:
    """ImageNet's layout in two views, the picture and its mirror image: 1.3 GB of codes with bar-fsq-16."""
    return TokenizeConfig(
        source=tyro.MISSING, tokenizer=tyro.MISSING, out=tyro.MISSING, views=("crop", "flip"), batch_size=64
    )


def tokenize_digits() -> TokenizeConfig:
    """The handwritten digits, in one view: a mirrored 3 is no 3."""
    return TokenizeConfig(
        source=tyro.MISSING, tokenizer=tyro.MISSING, out=tyro.MISSING, views=("crop",), unit_size=128, batch_size=64
    )


TOKENIZING: dict[str, Callable[[], TokenizeConfig]] = {"imagenet": tokenize_imagenet, "digits": tokenize_digits}
