"""What kills do to both trainings: the losses of every step, with and without kills.

python -m tests.system.chaos_training [SEED]        a table of the faults, and what they cost (`make chaos`)
"""

import json
import random
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.harness.killable_cluster import RAY_ENVIRONMENT, KillableCluster, Kills, environment
from tests.harness.repository import REPOSITORY

if TYPE_CHECKING:
    from pipeline.training.config import TrainingConfig
    from pipeline.training.learners.learner import Training

NUM_WORKERS = {"generator": 2, "tokenizer": 1}
STEPS, CHECKPOINT_EVERY = 160, 4
KILLS = Kills(
    worker="worker",
    process="RayTrainWorker",
    moments=range(CHECKPOINT_EVERY, STEPS * 4 // 5),
    when="checkpoint of step {:>4}",
)
"""The kills in each training."""
RAYLET: dict[str, Any] = {"num_cpus": 1, "memory": 2 * 10**9, "object_store_memory": 10**8}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The disturbed run of a training beside the undisturbed one."""

    training: str
    kills: list[tuple[str, int]]
    """What was killed, and the step of the newest checkpoint then."""
    steps_compared: int
    steps_differing: int
    """Steps whose loss differs by a bit, or is missing."""
    models_differ: bool

    def table(self) -> str:
        """A table for a person."""
        rows = [(self.training, ""), ("fault", "when")]
        rows += [(f"SIGKILL to {kind}", f"after the checkpoint of step {step}") for kind, step in self.kills]
        rows += [
            ("steps compared / differing by a bit", f"{self.steps_compared} / {self.steps_differing}"),
            ("the models are", "different" if self.models_differ else "the same, bit for bit"),
        ]
        return "\n".join(f"{name:<36} {value}" for name, value in rows)


def run(seed: int, training: str) -> Outcome:
    """Trains once without faults and once under kills."""
    chance = random.Random(seed)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos", ignore_cleanup_errors=True)))
        stack.enter_context(environment(**RAY_ENVIRONMENT, RAY_TMPDIR=str(folder), PYTHONPATH=str(REPOSITORY)))
        losses, fingerprint = _train_undisturbed(training, folder)
        cluster = stack.enter_context(KillableCluster.started(num_raylets=NUM_WORKERS[training], **RAYLET))
        command = [sys.executable, "-m", "tests.system.chaos_training", "drive", cluster.address, training, str(folder)]
        log = folder / "driver.log"
        try:
            kills = KILLS.disturb(cluster, command, log, partial(_newest_step, folder), chance)
            return _compare(training, folder, kills, losses, fingerprint)
        except BaseException:
            print(log.read_text()[-6000:], file=sys.stderr)
            raise


def drive(address: str, training: str, folder: str) -> None:
    """The driver of the disturbed run."""
    from pipeline.cluster import ClusterConfig, connect
    from pipeline.tracking.start import start_run
    from pipeline.training.fit import fit

    config = _config(training, Path(folder))
    with (
        connect(ClusterConfig(address=address)),
        start_run(training, config.tracking, config, out=config.out) as run,
    ):
        fit(_prepare(training, config), run)


def _train_undisturbed(training: str, folder: Path) -> tuple[list[float], str]:
    """Losses and fingerprint of the same steps by as many ranks, without Ray and without faults."""
    from torch.multiprocessing import spawn  # pyright: ignore[reportPrivateImportUsage]

    _write_data(training, folder)
    spawn(_train_as_rank, (training, folder), nprocs=NUM_WORKERS[training])
    found = json.loads((folder / "undisturbed.json").read_text())
    return found["losses"], found["fingerprint"]


def _train_as_rank(rank: int, training: str, folder: Path) -> None:
    import torch
    from torch.distributed import FileStore  # pyright: ignore[reportPrivateImportUsage]

    from bar_model import checkpoint
    from pipeline.training.learners.learner import load_initial_weights, take_step
    from pipeline.training.step.ranks import Ranks

    torch.set_num_threads(1)
    ranks = Ranks(rank=rank, num=NUM_WORKERS[training])
    store = FileStore(str(folder / "store"), ranks.num)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=ranks.num)
    config = _config(training, folder)
    prepared = _prepare(training, config)
    torch.manual_seed(config.seed)
    learner = prepared.build(config, prepared.data, ranks, torch.device("cpu"))
    load_initial_weights(learner, config)
    losses = []
    for step in range(config.steps):
        take_step(learner, step, seed=config.seed, rank=rank)
        losses.append(learner.trainee_at(step).report()["loss"])
    if rank == 0:
        found = {"losses": losses, "fingerprint": checkpoint.fingerprint(learner.result())}
        (folder / "undisturbed.json").write_text(json.dumps(found))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def _compare(
    training: str, folder: Path, kills: list[tuple[str, int]], losses: list[float], fingerprint: str
) -> Outcome:
    from mlflow import MlflowClient

    config = _config(training, folder)
    client = MlflowClient(config.tracking.uri)
    (run,) = client.search_runs([each.experiment_id for each in client.search_experiments()])
    name = {"generator": "train/loss", "tokenizer": "tokenizer/loss"}[training]
    found = {point.step: point.value for point in client.get_metric_history(run.info.run_id, name)}
    results = json.loads((Path(config.out) / "results.json").read_text())
    return Outcome(
        training=training,
        kills=kills,
        steps_compared=len(found.keys() & set(range(1, STEPS + 1))),
        steps_differing=sum(found.get(step) != loss for step, loss in enumerate(losses, start=1)),
        models_differ=results["fingerprint"] != fingerprint,
    )


def _config(training: str, folder: Path) -> "TrainingConfig":
    """Small models, so that the kills take most of the time."""
    from dataclasses import replace

    from pipeline.tracking.start import TrackingConfig
    from pipeline.training.config import Cadence, WorkersConfig
    from tests.harness import generator_training, tokenizer_training

    tracking = TrackingConfig(uri=f"sqlite:///{folder}/mlflow.db", spool=str(folder / "spool"))
    tiny = {"generator": generator_training, "tokenizer": tokenizer_training}[training].tiny_training(folder)
    if training == "generator":
        tiny = replace(tiny, model=generator_training.tiny_bar(dropout=0.1))
    return replace(
        tiny,
        steps=STEPS,
        tracking=tracking,
        cadence=Cadence(log_every=1, checkpoint_every=CHECKPOINT_EVERY),
        workers=WorkersConfig(num=NUM_WORKERS[training], cpus=1, micro_batch=3, max_failures=100),
    )


def _prepare(training: str, config: Any) -> "Training":
    from pipeline.training import train_generator as train
    from pipeline.training import train_tokenizer

    return {"generator": train, "tokenizer": train_tokenizer}[training].prepare(config)


def _write_data(training: str, folder: Path) -> None:
    from tests.harness import generator_training, tokenizer_training

    if training == "generator":
        generator_training.tiny_codes(folder / "codes")
    else:
        tokenizer_training.write_pictures(folder / "pictures", width=12)


def _newest_step(folder: Path) -> int:
    """The step of the newest checkpoint that Ray Train lists."""
    listing = folder / "out" / "checkpoints" / "checkpoint_manager_snapshot.json"
    return json.loads(listing.read_text())["latest_checkpoint_result"]["metrics"]["step"] if listing.exists() else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["drive"]:
        drive(*sys.argv[2:])
    else:
        for each in NUM_WORKERS:
            print(run(int(sys.argv[1]) if len(sys.argv) > 1 else 0, each).table(), end="\n\n", flush=True)
