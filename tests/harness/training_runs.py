"""The generator's training on Ray Train, and what it left in MLflow and in its folder."""

import dataclasses
import json
from pathlib import Path

from bar_model import checkpoint
from bar_model.generator.bar import Bar
from pipeline.tracking.start import start_run
from pipeline.training.config import Cadence
from pipeline.training.learners.generator import TrainConfig
from pipeline.training.output import GENERATOR_STAGE, Trained
from pipeline.training.train_generator import train
from tests.harness.generator_training import NUM_CLASSES, tiny_bar, tiny_training


def run_training(config: TrainConfig) -> Trained:
    """Trains as the job does, in the Ray session that there is."""
    with start_run(GENERATOR_STAGE, config.tracking, config, out=config.out) as run:
        return train(config, run)


def curve(config: TrainConfig, name: str = "train/loss") -> dict[int, float]:
    """A metric by step, as MLflow keeps it."""
    from mlflow import MlflowClient

    client = MlflowClient(config.tracking.uri)
    (run,) = client.search_runs([each.experiment_id for each in client.search_experiments()])
    return {point.step: point.value for point in client.get_metric_history(run.info.run_id, name)}


def checkpoints(config: TrainConfig) -> list[int]:
    """The steps of the checkpoints that Ray Train lists and that are there, from the oldest to the newest."""
    folder = Path(config.out) / "checkpoints"
    listing = folder / "checkpoint_manager_snapshot.json"
    results = json.loads(listing.read_text())["checkpoint_results"] if listing.exists() else []
    return [each["metrics"]["step"] for each in results if (folder / each["checkpoint_dir_name"]).exists()]


def killable(folder: Path) -> TrainConfig:
    """With steps enough to be killed in the middle, from a model of other classes."""
    cadence, initial = Cadence(log_every=1, checkpoint_every=10), folder / "initial"
    if not initial.exists():
        checkpoint.save(Bar(dataclasses.replace(tiny_bar(), num_classes=NUM_CLASSES + 1)), initial)
    return tiny_training(folder, model=tiny_bar(dropout=0.1), init=str(initial), steps=100, cadence=cadence)
