"""What MLflow has of the runs of a test."""

from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.entities import Run as MlflowEntity

from pipeline.tracking.start import TrackingConfig


@dataclass(frozen=True)
class StageConfig:
    """Parameters of several kinds, one of them longer than MLflow's limit."""

    steps: int = 3
    sizes: tuple[int, ...] = (8, 16)
    note: str = "x" * 7000


def found(config: TrackingConfig) -> dict[str, MlflowEntity]:
    """The runs of a test's experiment, by name; two of one name are an error."""
    assert config.uri is not None
    client = MlflowClient(config.uri)
    experiment = client.get_experiment_by_name(config.experiment or "")
    if experiment is None:
        return {}
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    entities = client.search_runs([experiment.experiment_id])
    by_name = {str(entity.info.run_name): entity for entity in entities}
    assert len(by_name) == len(entities)
    return by_name


def steps(config: TrackingConfig, run: MlflowEntity, metric: str) -> list[int]:
    """The steps of a metric's points, sorted; a point that was sent twice is there twice."""
    return sorted(point.step for point in MlflowClient(config.uri).get_metric_history(run.info.run_id, metric))
