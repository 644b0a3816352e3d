"""Judge drawn digits.    python jobs/evaluate.py digits --samples DIR --unguided-samples DIR --tokenizer MODEL …"""

from pipeline import cluster, command, tracking
from pipeline.evaluate import STAGE, EvaluateConfig, evaluate
from pipeline.presets import EVALUATION


def main(config: EvaluateConfig) -> None:
    with cluster.connect(config.cluster), tracking.start(STAGE, config.tracking, config, out=config.out) as run:
        evaluate(config, run)


if __name__ == "__main__":
    command.run(main, EVALUATION)
