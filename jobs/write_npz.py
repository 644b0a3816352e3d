"""Samples as one npz file.    python jobs/write_npz.py SAMPLES [--tokenizer PATH]"""

from pipeline.command import job
from pipeline.samples.npz import NpzConfig, write_samples_npz


def main(config: NpzConfig) -> None:
    write_samples_npz(config)


if __name__ == "__main__":
    job.run_plain(main, NpzConfig)
