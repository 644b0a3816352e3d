"""Train BAR-FSQ on pictures.    python jobs/train_tokenizer.py bar-fsq-16 --source s3://bucket/train --out s3://bucket/runs/bar-fsq-16"""

from pipeline import cluster, command, tracking
from pipeline.presets import TOKENIZER_TRAINING
from pipeline.train_tokenizer import STAGE, TrainTokenizerConfig, train_tokenizer


def main(config: TrainTokenizerConfig) -> None:
    with cluster.connect(config.cluster), tracking.start(STAGE, config.tracking, config, out=config.out) as run:
        train_tokenizer(config, run)


if __name__ == "__main__":
    command.run(main, TOKENIZER_TRAINING)
