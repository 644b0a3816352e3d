"""Train BAR-FSQ on pictures.    python jobs/train_tokenizer.py bar-fsq-16 --source s3://bucket/train --out s3://bucket/runs/bar-fsq-16"""

from pipeline import cluster
from pipeline.command import job
from pipeline.presets.tokenizer_training import TOKENIZER_TRAINING
from pipeline.tracking.start import start_run
from pipeline.training.dry_run import dry_run
from pipeline.training.learners.tokenizer import TrainTokenizerConfig
from pipeline.training.lease import lease
from pipeline.training.output import TOKENIZER_STAGE
from pipeline.training.train_tokenizer import prepare, train_tokenizer


def main(config: TrainTokenizerConfig) -> None:
    if config.dry_run:
        with cluster.connect(config.cluster):
            dry_run(prepare(config))
        return
    # Before all else: a second training into this folder shall not touch the run of the first.
    with (
        lease(config.out),
        cluster.connect(config.cluster),
        start_run(TOKENIZER_STAGE, config.tracking, config, out=config.out) as run,
    ):
        train_tokenizer(config, run)


if __name__ == "__main__":
    job.run(main, TOKENIZER_TRAINING)
