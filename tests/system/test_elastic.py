"""A training on as many workers as there is room for."""

import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from pipeline.training.config import Cadence, WorkersConfig
from pipeline.training.learners.generator import TrainConfig
from tests.harness.generator_training import learner, losses, tiny_codes, tiny_training
from tests.harness.killable_cluster import RAY_ENVIRONMENT, KillableCluster, environment
from tests.harness.repository import REPOSITORY
from tests.harness.training_runs import curve

DRIVER = """
import sys
from pathlib import Path
from pipeline import cluster
from pipeline.training import ray_train
from pipeline.cluster import ClusterConfig
from tests.system.test_elastic import elastic_training
from tests.harness.repository import REPOSITORY
from tests.harness.training_runs import run_training
ray_train.RESIZE_S = 2.0
with cluster.connect(ClusterConfig(address=sys.argv[1])):
    run_training(elastic_training(Path(sys.argv[2])))
"""


# A training that has lost a machine may first wait for it: Ray hears of the loss later than Ray Train does.
IMPATIENT = {"RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "10"}


def elastic_training(folder: Path) -> TrainConfig:
    """Validation takes the time in which workers come and go."""
    return tiny_training(
        folder,
        held_out=str(folder / "held_out"),
        steps=50,
        cadence=Cadence(log_every=1, validate_every=1, checkpoint_every=2),
        workers=WorkersConfig(num=1, max_num=2, cpus=1, micro_batch=3, max_failures=10),
    )


@pytest.mark.slow
@pytest.mark.ray
def test_workers_come_and_go_and_the_losses_stay() -> None:
    """One worker, two once there is a second machine, one again when one is gone."""
    with (
        tempfile.TemporaryDirectory(prefix="elastic", ignore_cleanup_errors=True) as name,
        environment(**RAY_ENVIRONMENT, **IMPATIENT, RAY_TMPDIR=name, PYTHONPATH=str(REPOSITORY)),
        KillableCluster.started(num_raylets=1, num_cpus=1, object_store_memory=10**8) as cluster,
    ):
        folder = Path(name)
        tiny_codes(folder / "codes")
        tiny_codes(folder / "held_out", seed=1, num=600)
        config = elastic_training(folder)
        driver = subprocess.Popen([sys.executable, "-c", DRIVER, cluster.address, name], env=dict(os.environ))
        try:
            await_ranks(driver, config, 1)
            cluster.add_raylet()
            await_ranks(driver, config, 2)
            cluster.kill_raylet(random.Random(0))
            await_ranks(driver, config, 1)
            assert driver.wait() == 0
        finally:
            driver.kill()
        expected = dict(enumerate(losses(learner(config), config, range(config.steps)), start=1))
        assert curve(config) == pytest.approx(expected, rel=1e-5)


def await_ranks(driver: subprocess.Popen, config: TrainConfig, number: int) -> None:
    """Until the newest checkpoint was written by so many."""
    while True:
        newest = max((each.parent for each in Path(config.out).glob("checkpoints/step-*/rank-*.json")), default=None)
        if newest is not None and len(list(newest.glob("rank-*.json"))) == number:
            return
        assert driver.poll() is None
        time.sleep(0.05)
