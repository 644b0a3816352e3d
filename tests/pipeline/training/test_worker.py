"""A worker without Ray Train: what keeps it from beginning is returned, not raised."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bar_model.errors import BadInput
from pipeline.codes.folder import read_codes
from pipeline.codes.table import Codes
from pipeline.training.learners.generator import GeneratorLearner
from pipeline.training.learners.learner import BuildLearner
from pipeline.training.step.ranks import Refused
from pipeline.training.worker import Outcome, WorkerTask, build_learner, train_in_worker
from tests.harness.generator_training import tiny_codes, tiny_training

pytestmark = pytest.mark.long  # Ray Train is loaded.


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray Train's functions as a single worker on a CPU sees them; references are the values themselves."""
    import ray
    import ray.train.torch

    context = SimpleNamespace(get_world_rank=lambda: 0, get_world_size=lambda: 1, get_local_world_size=lambda: 1)
    monkeypatch.setattr(ray.train, "get_context", lambda: context)
    monkeypatch.setattr(ray.train.torch, "get_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(ray, "get", lambda value: value)


def job(folder: Path, data: Any, build: BuildLearner = GeneratorLearner) -> WorkerTask:
    return WorkerTask(config=tiny_training(folder), build=build, data=data, run=None, board=None, num_threads=1)


def test_the_learner_has_weights_from_the_seed(tmp_path: Path) -> None:
    tiny_codes(tmp_path / "codes")
    table = read_codes(str(tmp_path / "codes"))
    data = {"codes": Codes(table.labels, table.codes)}
    models = []
    for before in (7, 8):
        torch.manual_seed(before)
        learner, ranks, device = build_learner(job(tmp_path, data))
        assert (ranks.rank, ranks.num, device.type) == (0, 1, "cpu")
        models.append(learner.result().state_dict())
    assert all(torch.equal(tensor, models[1][name]) for name, tensor in models[0].items())


def test_what_a_machine_lacks_is_the_outcome(tmp_path: Path) -> None:
    class Lost:
        def opened(self) -> None:
            raise BadInput("no room on this machine")

    lost = job(tmp_path, {"codes": Lost()})
    with pytest.raises(Refused, match="no room on this machine"):
        build_learner(lost)
    assert train_in_worker(lost) == Outcome({}, refused="no room on this machine")
