"""The progress of a training, from the worker that makes it to the terminal where it was started."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

READ_EVERY_S = 0.5
LINE_EVERY_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Note:
    """How far a training is; without figures until the first are known."""

    step: int
    loss: float | None = None
    rows_per_s: float | None = None

    @property
    def figures(self) -> str:
        loss = None if self.loss is None else f"loss {self.loss:.4f}"
        rate = None if self.rows_per_s is None else f"{self.rows_per_s:,.0f} rows/s"
        return ", ".join(filter(None, (loss, rate))) or "starting"


class Board:
    """Where the worker leaves its last note and the driver finds it, and may leave the word that it is to stop.

    An actor, since they may be on two machines.
    """

    def __init__(self) -> None:
        self._note: Note | None = None
        self._is_to_stop = False

    def write(self, note: Note) -> bool:
        """Whether the worker is to stop."""
        self._note = note
        return self._is_to_stop

    def stop(self) -> None:
        self._is_to_stop = True

    def read(self) -> Note | None:
        return self._note


@contextmanager
def shown(title: str, num_steps: int) -> Iterator[Any]:
    """The handle of a board whose notes show as a bar on a terminal, or as a line now and then in a log."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # Beside the driver, without which nothing goes on anyway.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    board: Any = ray.remote(Board).options(num_cpus=0, scheduling_strategy=here).remote()
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(board, title, num_steps, ended), name="progress", daemon=True)
    watcher.start()
    try:
        yield board
    finally:
        ended.set()
        watcher.join()
        ray.kill(board)


def _watch(board: Any, title: str, num_steps: int, ended: threading.Event) -> None:
    import ray
    from ray.exceptions import RayError

    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    silent_s = 0.0
    with bar:
        task = bar.add_task(title, total=num_steps, figures="starting")
        last: Note | None = None
        while True:
            over = ended.wait(READ_EVERY_S)
            try:
                note: Note | None = ray.get(board.read.remote(), timeout=10)
            except RayError:
                return  # The cluster is going away: what is wrong is told elsewhere.
            silent_s += READ_EVERY_S
            if note is not None and note != last:
                figures = note.figures
                bar.update(task, completed=note.step, figures=figures)
                if not console.is_terminal and (silent_s >= LINE_EVERY_S or note.step == num_steps):
                    console.print(f"{title}: step {note.step:,} of {num_steps:,}, {figures}")
                    silent_s = 0.0
                last = note
            if over:
                return
