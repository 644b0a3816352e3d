"""Draw images.    python jobs/sample_images.py imagenet --generator MODEL --tokenizer MODEL --out s3://bucket/samples"""

from pipeline import cluster
from pipeline.command import job
from pipeline.presets.sampling import SAMPLING
from pipeline.samples.folder import STAGE
from pipeline.samples.sample import SampleConfig, sample
from pipeline.tracking.start import start_run


def main(config: SampleConfig) -> None:
    with cluster.connect(config.cluster), start_run(STAGE, config.tracking, config, out=config.out) as run:
        sample(config, run)


if __name__ == "__main__":
    job.run(main, SAMPLING)
