"""Try settings of sampling.    python jobs/sweep.py imagenet --generator MODEL --tokenizer MODEL --reference NPZ …"""

from pipeline import cluster
from pipeline.command import job
from pipeline.tracking.start import start_run
from pipeline.workflows.sweep import STAGE, SWEEPS, SweepConfig, sweep


def main(config: SweepConfig) -> None:
    with cluster.connect(config.cluster), start_run(STAGE, config.tracking, config, out=config.out) as run:
        sweep(config, run)


if __name__ == "__main__":
    job.run(main, SWEEPS)
