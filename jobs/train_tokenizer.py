"""Train BAR-FSQ on pictures.    python jobs/train_tokenizer.py bar-fsq-16 --source s3://bucket/train --out s3://bucket/runs/bar-fsq-16"""

from pipeline import cluster
from pipeline.command import job
from pipeline.presets.tokenizer_training import TOKENIZER_TRAINING
from pipeline.tracking.start import start_run
from pipeline.training.dry_run import dry_run
from pipeline.training.learners.tokenizer import TrainTokenizerConfig
from pipeline.training.output import TOKENIZER_STAGE
from pipeline.training.train_tokenizer import prepare, train_tokenizer


def main(config: TrainTokenizerConfig) -> None:
    with cluster.connect(config.cluster):
        if config.dry_run:
            dry_run(prepare(config))
            return
        with start_run(TOKENIZER_STAGE, config.tracking, config, out=config.out) as run:
            train_tokenizer(config, run)


if __name__ == "__main__":
    job.run(main, TOKENIZER_TRAINING)
