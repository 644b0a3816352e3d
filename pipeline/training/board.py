"""The progress of a training, from the worker that makes it to the terminal of the driver, and the request to stop."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipeline.execution.progress import Progress

READ_EVERY_S = 0.5


@dataclass(frozen=True, kw_only=True)
class StepStatus:
    """How far a training is; without figures until the first are known."""

    step: int
    loss: float | None = None
    rows_per_s: float | None = None

    @property
    def figures(self) -> str:
        """The figures as a text, such as "loss 5.3100, 120 rows/s"; "starting" where there are none."""
        loss = None if self.loss is None else f"loss {self.loss:.4f}"
        rate = None if self.rows_per_s is None else f"{self.rows_per_s:,.0f} rows/s"
        return ", ".join(filter(None, (loss, rate))) or "starting"


class Board:
    """What the first worker reports and the driver reads, and the driver's request to stop.

    It is a Ray actor, since driver and worker may be on two machines.
    """

    def __init__(self) -> None:
        self._status: StepStatus | None = None
        self._is_to_stop = False

    def report(self, status: StepStatus) -> bool:
        """Keeps the worker's status and returns whether the worker is to stop."""
        self._status = status
        return self._is_to_stop

    def request_stop(self) -> None:
        """Makes each later `report` return True."""
        self._is_to_stop = True

    def read(self) -> StepStatus | None:
        """The status that was reported last; None before the first."""
        return self._status


@contextmanager
def board_with_progress(title: str, num_steps: int) -> Iterator[Any]:
    """The handle of a board; while the block lasts, a thread shows what is reported to it."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # On the driver's machine: without the driver nothing goes on anyway.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    board: Any = ray.remote(Board).options(num_cpus=0, scheduling_strategy=here).remote()
    ended = threading.Event()
    watcher = threading.Thread(target=_show, args=(board, title, num_steps, ended), name="progress", daemon=True)
    watcher.start()
    try:
        yield board
    finally:
        ended.set()
        watcher.join()
        ray.kill(board)


def _show(board: Any, title: str, num_steps: int, ended: threading.Event) -> None:
    """Shows the board's status until the training has ended."""
    import ray
    from ray.exceptions import RayError

    with Progress(title, "steps", total=num_steps, figures="starting") as progress:
        last: StepStatus | None = None
        over = False
        while not over:
            over = ended.wait(READ_EVERY_S)
            try:
                status: StepStatus | None = ray.get(board.read.remote(), timeout=10)
            except RayError:
                return  # The cluster is shutting down; the driver's own error says why.
            if status is None or status == last:
                continue
            if last is None:
                progress.resume(status.step, status.figures)  # The steps before were done earlier or go uncounted.
            else:
                progress.show(status.step, status.figures)
            last = status
