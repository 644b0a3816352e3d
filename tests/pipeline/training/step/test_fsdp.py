"""Shards of a model beside whole copies."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch.distributed import FileStore  # pyright: ignore[reportPrivateImportUsage]
from torch.distributed.tensor import DTensor

from bar_model import checkpoint
from bar_model.generator.bar import Bar
from pipeline.storage import Folder
from pipeline.training.checkpoints.state import Snapshot, check_state, load_state
from pipeline.training.config import WorkersConfig
from pipeline.training.learners.generator import GeneratorLearner, TrainConfig
from pipeline.training.step.optimizer import OptimizationConfig
from pipeline.training.step.ranks import Ranks
from tests.harness.generator_training import NUM_CLASSES, learner, losses, tiny_bar, tiny_codes, tiny_training


@pytest.mark.system
def test_shards_learn_what_copies_learn_and_either_takes_up_what_the_other_left(tmp_path: Path) -> None:
    """FSDP beside DDP and one rank alone, over fifty steps, with checkpoints that change hands on the way."""
    tiny_codes(tmp_path / "codes")
    config = sharded_training(tmp_path)
    alone = learner(config)
    expected = losses(alone, config, range(50))
    torch.multiprocessing.spawn(_change_hands, (2, str(tmp_path), expected), nprocs=2)  # pyright: ignore[reportPrivateImportUsage]


def sharded_training(folder: Path, *, sharded: bool = True) -> TrainConfig:
    """Nine rows, of which one rank has one more: three micro-batches each, all the same."""
    initial = folder / "initial"
    if not initial.exists():
        torch.manual_seed(5)
        checkpoint.save(Bar(dataclasses.replace(tiny_bar(), num_classes=NUM_CLASSES + 1)), initial)
    return tiny_training(
        folder,
        batch=9,
        steps=50,
        init=str(initial),
        optimization=OptimizationConfig(learning_rate=1e-2, average=0.9, max_gradient_norm=0.5),
        workers=WorkersConfig(cpus=1, micro_batch=2, sharded=sharded),
    )


def _change_hands(rank: int, num_ranks: int, folder: str, expected: list[float]) -> None:
    torch.set_num_threads(1)
    store = FileStore(f"{folder}/store", num_ranks)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=num_ranks)
    ranks = Ranks(rank=rank, num=num_ranks)
    found: list[float] = []
    before: GeneratorLearner | None = None
    for sharded, steps in ((True, range(20)), (False, range(20, 30)), (True, range(30, 50))):
        config = sharded_training(Path(folder), sharded=sharded)
        mine = learner(config, ranks)
        (trainee,) = mine.trainees
        assert isinstance(trainee.state_dict()["model/transformer.class_token"], DTensor) is sharded
        if before is not None:
            place = Folder(f"{folder}/{steps.start}")
            snapshot = Snapshot(ranks)
            snapshot.take(before.trainees[0].state_dict(), {})
            snapshot.write(place)
            torch.distributed.barrier()
            check_state(place, contents=True)
            load_state(Path(place.url), trainee.state_dict())
            trainee.num_updates = before.trainees[0].num_updates
            assert checkpoint.fingerprint(mine.result()) == checkpoint.fingerprint(before.result())
        found += losses(mine, config, steps)
        before = mine
    assert found == pytest.approx(expected, rel=1e-5)
    torch.distributed.destroy_process_group()
