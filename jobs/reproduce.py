"""Published weights against their figures.    python jobs/reproduce.py bar-b --weights DIR --reference NPZ --out DIR"""

from pipeline import cluster
from pipeline.command import job
from pipeline.tracking.start import start_run
from pipeline.workflows.reproduce import REPRODUCTION, STAGE, ReproduceConfig, reproduce


def main(config: ReproduceConfig) -> bool:
    with cluster.connect(config.cluster), start_run(STAGE, config.tracking, config, out=config.out) as run:
        return reproduce(config, run)


if __name__ == "__main__":
    job.run(main, REPRODUCTION)
