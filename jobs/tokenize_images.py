"""Images -> codes.    python jobs/tokenize_images.py imagenet --source DATA/train --tokenizer MODEL --out CODES"""

from pipeline import cluster
from pipeline.codes.folder import STAGE
from pipeline.codes.tokenize import TokenizeConfig, tokenize
from pipeline.command import job
from pipeline.presets.tokenizing import TOKENIZING
from pipeline.tracking.start import start_run


def main(config: TokenizeConfig) -> None:
    with cluster.connect(config.cluster), start_run(STAGE, config.tracking, config, out=config.out) as run:
        tokenize(config, run)


if __name__ == "__main__":
    job.run(main, TOKENIZING)
