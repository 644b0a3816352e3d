"""Judge drawn images.    python jobs/evaluate.py imagenet --samples DIR … --reference NPZ --out DIR"""

from pipeline import cluster, command, tracking
from pipeline.evaluate import EvaluateConfig, evaluate
from pipeline.evaluate_digits import EvaluateDigitsConfig, evaluate_digits
from pipeline.presets import EVALUATION
from pipeline.report import STAGE


def main(config: EvaluateConfig | EvaluateDigitsConfig) -> None:
    with cluster.connect(config.cluster), tracking.start(STAGE, config.tracking, config, out=config.out) as run:
        evaluate_digits(config, run) if isinstance(config, EvaluateDigitsConfig) else evaluate(config, run)


if __name__ == "__main__":
    command.run(main, EVALUATION)
