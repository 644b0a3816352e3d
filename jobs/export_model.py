"""Make a model of a training's checkpoint.    python jobs/export_model.py OUT --to MODEL [--which best|newest|NAME]"""

from pipeline.command import job
from pipeline.training.export import ExportConfig, export_model


def main(config: ExportConfig) -> None:
    name = export_model(config)
    print(f"{config.to}: the model of {name}")


if __name__ == "__main__":
    job.run_plain(main, ExportConfig)
