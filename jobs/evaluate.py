"""Judge drawn images.    python jobs/evaluate.py imagenet --samples DIR … --reference NPZ --out DIR"""

from pipeline import cluster
from pipeline.command import job
from pipeline.digits.evaluate_digits import EvaluateDigitsConfig, evaluate_digits
from pipeline.evaluation.evaluate_samples import EvaluateConfig, evaluate
from pipeline.evaluation.evaluate_tokenizer import EvaluateTokenizerConfig, evaluate_tokenizer
from pipeline.presets.evaluation import EVALUATION
from pipeline.reports.report import STAGE
from pipeline.tracking.start import start_run


def main(config: EvaluateConfig | EvaluateTokenizerConfig | EvaluateDigitsConfig) -> None:
    with cluster.connect(config.cluster), start_run(STAGE, config.tracking, config, out=config.out) as run:
        match config:
            case EvaluateConfig():
                evaluate(config, run)
            case EvaluateTokenizerConfig():
                evaluate_tokenizer(config, run)
            case EvaluateDigitsConfig():
                evaluate_digits(config, run)


if __name__ == "__main__":
    job.run(main, EVALUATION)
