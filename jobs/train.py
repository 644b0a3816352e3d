"""Train BAR on codes.    python jobs/train.py bar-b --codes s3://bucket/codes --out s3://bucket/runs/bar-b"""

from pipeline import cluster
from pipeline.command import job
from pipeline.presets.training import TRAINING
from pipeline.tracking.start import start_run
from pipeline.training.dry_run import dry_run
from pipeline.training.learners.generator import TrainConfig
from pipeline.training.lease import lease
from pipeline.training.output import GENERATOR_STAGE
from pipeline.training.train_generator import prepare, train


def main(config: TrainConfig) -> None:
    if config.dry_run:
        with cluster.connect(config.cluster):
            dry_run(prepare(config))
        return
    # Before all else: a second training into this folder shall not touch the run of the first.
    with (
        lease(config.out),
        cluster.connect(config.cluster),
        start_run(GENERATOR_STAGE, config.tracking, config, out=config.out) as run,
    ):
        train(config, run)


if __name__ == "__main__":
    job.run(main, TRAINING)
