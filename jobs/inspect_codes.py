"""What a folder of codes holds.    python jobs/inspect_codes.py CODES [--verify] [--decode PNG --tokenizer MODEL]"""

from pipeline.codes.inspect_codes import InspectCodesConfig, inspect_codes
from pipeline.command import job


def main(config: InspectCodesConfig) -> bool:
    return inspect_codes(config)


if __name__ == "__main__":
    job.run_plain(main, InspectCodesConfig)
