"""Reports beside each other, ranked where their protocols agree.    python jobs/compare_reports.py REPORT …"""

from pipeline.command import job
from pipeline.evaluation.compare import CompareConfig, compare_reports


def main(config: CompareConfig) -> None:
    compare_reports(config)


if __name__ == "__main__":
    job.run_plain(main, CompareConfig)
