"""Images -> codes.    python jobs/tokenize_images.py imagenet --source DATA/train --tokenizer MODEL --out CODES"""

from pipeline import cluster, command, tracking
from pipeline.codes import STAGE
from pipeline.presets import TOKENIZING
from pipeline.tokenize import TokenizeConfig, tokenize


def main(config: TokenizeConfig) -> None:
    with cluster.connect(config.cluster), tracking.start(STAGE, config.tracking, config, out=config.out) as run:
        tokenize(config, run)


if __name__ == "__main__":
    command.run(main, TOKENIZING)
