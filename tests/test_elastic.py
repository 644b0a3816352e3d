"""A training on as many workers as there is room for."""

import random
import tempfile
import threading
import time
from pathlib import Path

import pytest

from pipeline import cluster, fit
from pipeline.cluster import ClusterConfig
from pipeline.training import Cadence, WorkersConfig
from tests.fixtures_training import learner, losses, tiny_codes, tiny_training
from tests.killable_cluster import RAY_ENVIRONMENT, KillableCluster, environment
from tests.test_train import curve, run_training

STEPS = 50


@pytest.mark.slow
@pytest.mark.ray
def test_workers_come_and_go_and_the_losses_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """One worker, two once there is a second machine, one again when that is gone."""
    monkeypatch.setattr(fit, "RESIZE_S", 2.0)
    with (
        tempfile.TemporaryDirectory(prefix="elastic", ignore_cleanup_errors=True) as name,
        environment(**RAY_ENVIRONMENT, RAY_TMPDIR=name),
        KillableCluster.started(num_raylets=1, num_cpus=1, object_store_memory=10**8) as raylets,
        cluster.connect(ClusterConfig(address=raylets.address)),
    ):
        folder = Path(name)
        tiny_codes(folder / "codes")
        # Validation takes the time in which workers come and go.
        tiny_codes(folder / "held_out", seed=1, num=900)
        config = tiny_training(
            folder,
            held_out=str(folder / "held_out"),
            steps=STEPS,
            cadence=Cadence(log_every=1, validate_every=1, checkpoint_every=2),
            workers=WorkersConfig(num=1, max_num=2, cpus=1, micro_batch=3, max_failures=10),
        )
        found: list[int] = []
        watcher = threading.Thread(target=_come_and_go, args=(raylets, config.out, found), daemon=True)
        watcher.start()
        run_training(config)
        assert found == [1, 2, 1]
        expected = dict(enumerate(losses(learner(config), config, range(STEPS)), start=1))
        assert curve(config) == pytest.approx(expected, rel=1e-5)


def _come_and_go(raylets: KillableCluster, out: str, found: list[int]) -> None:
    """The numbers of workers, each once checkpoints of so many are there."""
    for number in (1, 2, 1):
        while _num_ranks(out) != number:
            time.sleep(0.05)
        found.append(number)
        if number == 2:
            raylets.kill_raylet(random.Random(0))
        elif len(raylets.raylets) == 1 and len(found) == 1:
            raylets.add_raylet()


def _num_ranks(out: str) -> int:
    """Of those that wrote the newest checkpoint."""
    newest = max((path.parent for path in Path(out).glob("checkpoints/step-*/rank-00000.json")), default=None)
    return 0 if newest is None else len(list(newest.glob("rank-*.json")))
