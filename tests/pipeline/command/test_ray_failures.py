"""A cluster's faults in one line each, as Ray really raises them; defects of the program stay what they are."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from bar_model.errors import WorkFailed
from pipeline.command.ray_failures import work_failed

pytest_plugins = ["tests.harness.fixtures_s3", "tests.harness.fixtures_ray"]


class Dies:
    """An actor whose process is gone in the middle, as after a kill."""

    def work(self) -> NoReturn:
        os._exit(1)


class Breaks:
    """A step of Ray Data that can't even be built: a defect."""

    def __init__(self) -> None:
        raise KeyError("width")

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return batch


def die(*_: object) -> NoReturn:
    os._exit(1)


def break_down(*_: object) -> NoReturn:
    raise KeyError("width")


def overflow() -> NoReturn:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has 1 GiB free.")


def diverge() -> NoReturn:
    raise WorkFailed("loss was not finite: lower the learning rate")


@pytest.mark.ray
def test_a_fault_of_the_cluster_is_one_line_and_a_defect_is_none(ray_here: str, tmp_path: Path) -> None:
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    def mapped(step: type) -> None:
        one = ray.data.ActorPoolStrategy(size=1)
        ray.data.range(1).map_batches(step, batch_size=1, compute=one).materialize()

    def trained(task: Callable[[], None]) -> None:
        run = RunConfig(storage_path=str(tmp_path), name=task.__name__, failure_config=FailureConfig(max_failures=0))
        # A training whose worker has died keeps its place until its driver ends, which here has other tests to run.
        no_cpu = ScalingConfig(num_workers=1, resources_per_worker={"memory": 1})
        DataParallelTrainer(task, scaling_config=no_cpu, run_config=run).fit()

    actor: Any = ray.remote(Dies).remote()
    faults: dict[str, tuple[Callable[[], object], str]] = {
        "task": (lambda: ray.get(ray.remote(max_retries=0)(die).remote()), "a worker process has died"),
        "actor": (lambda: ray.get(actor.work.remote()), "a worker process has died"),
        "training": (lambda: trained(die), "a worker process has died"),
        "gpu": (lambda: ray.get(ray.remote(overflow).remote()), "a GPU's memory does not suffice: lower what"),
        "own": (lambda: ray.get(ray.remote(diverge).remote()), "loss was not finite: lower the learning rate"),
    }
    for name, (work, told) in faults.items():
        with pytest.raises(Exception) as caught:  # noqa: PT011  (of which class is Ray's choice)
            work()
        failed = work_failed(caught.value)
        assert str(failed).startswith(told), name
        assert "\n" not in str(failed), name
    defects = {
        "task": lambda: ray.get(ray.remote(break_down).remote()),
        "actor": lambda: mapped(Breaks),
    }
    for name, work in defects.items():
        with pytest.raises(Exception, match="width") as caught:
            work()
        assert work_failed(caught.value) is None, name


@pytest.mark.parametrize("error", [KeyError("a"), ValueError("OutOfMemoryError"), OSError(5, "input/output error")])
def test_other_errors_are_none_of_a_cluster(error: Exception) -> None:
    assert work_failed(error) is None


def test_the_reason_is_found_below_other_errors() -> None:
    from ray.exceptions import ActorDiedError, ObjectStoreFullError, OutOfMemoryError
    from ray.train import ControllerError, WorkerGroupError

    died = "a worker process has died, as from lack of memory or a kill: the same command goes on"
    for error in (ControllerError(ActorDiedError()), WorkerGroupError("of one worker", {0: ActorDiedError()})):
        assert str(work_failed(error)).startswith(died)
    assert work_failed(WorkerGroupError("of one worker", {0: KeyError("width")})) is None
    for inner, told in [
        (OutOfMemoryError("Task was killed due to the node running low on memory.\nMemory: 3 GB"), "a machine had too"),
        (
            ObjectStoreFullError("Failed to put object"),
            "Ray's object store is full: enlarge it",
        ),
    ]:
        outer = RuntimeError("the stage failed")
        outer.__cause__ = inner
        assert str(work_failed(outer)).startswith(told)
        assert "\n" not in str(work_failed(outer))
