"""Presets of evaluation keep what their docstrings promise."""

from pipeline.digits.evaluate_digits import EvaluateDigitsConfig
from pipeline.evaluation.evaluate_samples import EvaluateConfig
from pipeline.evaluation.evaluate_tokenizer import EvaluateTokenizerConfig
from pipeline.presets.evaluation import EVALUATION
from pipeline.pretrained.inception import SHA256


def test_imagenet_judges_fifty_thousand_samples_by_the_published_inception() -> None:
    config = EVALUATION["imagenet"]()
    assert isinstance(config, EvaluateConfig)
    assert config.num_images == 50_000
    assert config.extract.networks.inception_sha256 == SHA256
    assert config.extract.max_bad == 0


def test_each_kind_of_evaluation_has_its_preset() -> None:
    kinds = {name: type(preset()) for name, preset in EVALUATION.items()}
    assert kinds == {"imagenet": EvaluateConfig, "tokenizer": EvaluateTokenizerConfig, "digits": EvaluateDigitsConfig}
