"""Evaluations, by what is evaluated."""

from collections.abc import Callable

import tyro

from pipeline.digits.evaluate_digits import EvaluateDigitsConfig
from pipeline.evaluation.evaluate_samples import EvaluateConfig
from pipeline.evaluation.evaluate_tokenizer import EvaluateTokenizerConfig


def imagenet_evaluation() -> EvaluateConfig:
    """ImageNet as FID is published: 50,000 samples of each seed by ADM's rules, against its npz or other pictures."""
    return EvaluateConfig(samples=tyro.MISSING, reference=tyro.MISSING, out=tyro.MISSING)


def digits_evaluation() -> EvaluateDigitsConfig:
    """Samples of digits against real scans: read right, varied, no copies."""
    return EvaluateDigitsConfig(
        samples=tyro.MISSING,
        unguided_samples=tyro.MISSING,
        tokenizer=tyro.MISSING,
        train=tyro.MISSING,
        held_out=tyro.MISSING,
        out=tyro.MISSING,
    )


def tokenizer_evaluation() -> EvaluateTokenizerConfig:
    """What a tokenizer keeps of pictures: rFID, PSNR, SSIM and LPIPS. None of these is a figure of samples."""
    return EvaluateTokenizerConfig(tokenizer=tyro.MISSING, source=tyro.MISSING, out=tyro.MISSING)


EVALUATION: dict[str, Callable[[], EvaluateConfig | EvaluateTokenizerConfig | EvaluateDigitsConfig]] = {
    "imagenet": imagenet_evaluation,
    "tokenizer": tokenizer_evaluation,
    "digits": digits_evaluation,
}
