"""From scans of digits to samples, and what they are worth.    python jobs/quickstart.py digits"""

from pipeline import cluster
from pipeline.command import job
from pipeline.tracking.start import start_run
from pipeline.training.lease import lease
from pipeline.workflows.quickstart import QUICKSTART, STAGE, QuickstartConfig, quickstart


def main(config: QuickstartConfig) -> None:
    with (
        lease(config.out),
        cluster.connect(config.cluster),
        start_run(STAGE, config.tracking, config, out=config.out) as run,
    ):
        quickstart(config, run)


if __name__ == "__main__":
    job.run(main, QUICKSTART)
