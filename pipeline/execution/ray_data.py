"""Units on a cluster: each step of a stage's work is placed on Ray Data, where a row is one unit from end to end.

So no block can split or mix units.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bar_model.errors import BadInput
from pipeline.execution.unit import Receipt, Row, Unit, Work, find_unit, finish_unit
from pipeline.redacted_output import hiding_secrets
from pipeline.storage import Folder

Device = Literal["auto", "cpu", "cuda"]
"""Where a stage's models run; `auto` means on the cluster's GPUs, where it has any."""

PLAN_BLOCKS = 1000
"""The most objects that hold the plan: the driver keeps track of each from beginning to end."""


@dataclass(frozen=True, kw_only=True)
class Workers:
    """How many workers build and hold what the work needs, and what each of them reserves."""

    num: int
    cpus: float = 1
    gpus: float = 0

    def __post_init__(self) -> None:
        if self.num < 1:
            raise BadInput(f"workers: {self.num}; at least 1 is needed")


def choose_workers(device: Device, num: int | None) -> tuple[str, Workers]:
    """The device that a stage's models run on, and its workers: by default one for every GPU, or for every CPU.

    On CPUs a worker reserves half of one, so that as many tasks can read beside it, and the operating system divides
    the processors' time between the two.
    """
    import ray

    resources: dict[str, Any] = ray.cluster_resources()
    cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    if device == "cuda" or (device == "auto" and gpus):
        return "cuda", Workers(num=num or max(gpus, 1), gpus=1, cpus=1 if _largest_machine() >= 2 else 0.5)
    return "cpu", Workers(num=num or max(cpus, 1), cpus=0.5)


def execute(folder: Folder, work: Work, units: Sequence[Unit], workers: Workers) -> Iterator[tuple[Unit, Receipt]]:
    """Runs the steps of units on the cluster; gives each unit with its receipt when it is done, in any order.

    Raises:
        BadInput: the workers do not fit into the cluster.
    """
    if not units:
        return
    import ray
    from ray.data import ActorPoolStrategy, TaskPoolStrategy

    from pipeline.execution.ray_data_internals import hide_progress, limit_read_ahead

    resources = ray.cluster_resources()
    _check_workers_fit(workers, resources, work.read_memory)
    dataset = (
        ray.data.from_items(
            [{"unit": unit.to_json()} for unit in units], override_num_blocks=min(len(units), PLAN_BLOCKS)
        )
        # Ray Data fuses steps that reserve the same: this also keeps reading and working apart, side by side.
        .map(functools.partial(_read, folder, work), num_cpus=_reading_cpus(), memory=work.read_memory)
        .map(
            _Worker,  # pyright: ignore[reportArgumentType]  (Ray's signature knows functions alone)
            fn_constructor_args=(work,),
            compute=ActorPoolStrategy(size=min(workers.num, len(units))),
            num_cpus=workers.cpus,
            num_gpus=workers.gpus,
        )
        # Writing reserves no CPU: if the workers leave only one, all units would be read before any is written.
        .map(
            functools.partial(_write, folder, work),
            num_cpus=0,
            compute=TaskPoolStrategy(size=min(int(resources["CPU"]), len(units))),
        )
    )
    limit_read_ahead(dataset)
    hide_progress(dataset)
    dataset.context.target_max_block_size = 1  # A task that reads several units hands on each by itself, at once.
    for row in dataset.iter_rows():
        yield Unit.from_json(row["unit"]), Receipt.from_json(row["receipt"])


@hiding_secrets
def _read(folder: Folder, work: Work, row: Row) -> Row:
    """The row that a unit is made from, or its receipt if its file is there by now; the other steps let that pass.

    Ray repeats all steps of a unit whose receipt was lost with a machine, and another run may have been faster.
    """
    unit = Unit.from_json(row["unit"])
    receipt = find_unit(folder, work, unit)
    return {**row, **(work.read(unit) if receipt is None else {"receipt": receipt.to_json()})}


class _Worker:
    @hiding_secrets
    def __init__(self, work: Work) -> None:
        self._step = work.build()

    @hiding_secrets
    def __call__(self, row: Row) -> Row:
        return row if "receipt" in row else {"unit": row["unit"], **self._step(row)}


@hiding_secrets
def _write(folder: Folder, work: Work, row: Row) -> Row:
    if "receipt" in row:
        return row
    return {"unit": row["unit"], "receipt": finish_unit(folder, work, Unit.from_json(row["unit"]), row).to_json()}


def _largest_machine() -> float:
    """The CPUs of the machine that has the most of them."""
    import ray

    return max((node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]), default=0)


def _reading_cpus() -> float:
    """What a task that reads a unit reserves: a CPU, or half of one where a worker needs the other half."""
    return 1 if _largest_machine() >= 2 else 0.5


def _check_workers_fit(workers: Workers, resources: Mapping[str, float], read_memory: int) -> None:
    """Workers hold what they reserve to the end: units could never be read if workers took every CPU."""
    cpus, gpus, memory = (resources.get(kind, 0) for kind in ("CPU", "GPU", "memory"))
    reading = _reading_cpus()
    if workers.num * workers.cpus + reading > cpus or workers.num * workers.gpus > gpus:
        raise BadInput(
            f"workers: {workers.num} with {workers.cpus:g} CPUs and {workers.gpus:g} GPUs each do not fit into the "
            f"cluster's {cpus:g} CPUs (of which {reading:g} must remain for reading) and {gpus:g} GPUs: choose fewer "
            "workers, or a larger cluster"
        )
    if memory < read_memory:
        raise BadInput(
            f"the cluster has {memory:,.0f} bytes of memory for work, and reading a unit reserves {read_memory:,}: "
            "lower max_pixels (17 bytes a pixel) or unit_size, or take a larger machine"
        )
