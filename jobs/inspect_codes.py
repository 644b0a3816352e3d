"""What a folder of codes holds.    python jobs/inspect_codes.py FOLDER [--verify] [--decode PNG --tokenizer MODEL]"""

import sys

from pipeline import command
from pipeline.codes.show import InspectCodesConfig, inspect_codes


def main(config: InspectCodesConfig) -> bool:
    return inspect_codes(config)


if __name__ == "__main__":
    sys.exit(command.run_module(main, InspectCodesConfig))
