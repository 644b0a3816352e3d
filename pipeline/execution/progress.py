"""How far a long step is: items a second, items quarantined, time left."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

METRICS_EVERY_S = 5.0
LINES_EVERY_S = 30.0


class Run(Protocol):
    """Where figures go while the work goes on: `tracking.Run`."""

    def metrics(self, values: Mapping[str, float], *, step: int = 0) -> None: ...

    def tag(self, name: str, value: object) -> None: ...


class Progress:
    """A bar on a terminal, a line now and then in a log, and metrics to the run.

    `item` is the plural of what is counted: "images". Metrics are by items done: {item}_per_s and quarantined.
    """

    def __init__(self, title: str, item: str, *, total: int, run: Run | None = None) -> None:
        self._title, self._item, self._total, self._run = title, item, total, run
        self._done = self._worked = self._quarantined = 0
        self._console = Console(stderr=True)
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(title, total=total, figures="")

    def __enter__(self) -> Self:
        self._began = self._told = self._logged = time.monotonic()
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()
        self._log()
        self._tell()

    def found(self, num: int, quarantined: int = 0) -> None:
        """Counts items that were done before."""
        self._count(num, quarantined)

    def advance(self, num: int, quarantined: int = 0) -> None:
        """Counts items done now."""
        self._worked += num
        self._count(num, quarantined)
        now = time.monotonic()
        if now - self._told >= METRICS_EVERY_S:
            self._told = now
            self._tell()
        if now - self._logged >= LINES_EVERY_S:
            self._logged = now
            self._log()

    @property
    def per_s(self) -> float:
        """Items a second, of those done now."""
        return self._worked / max(time.monotonic() - self._began, 1e-9)

    def _count(self, num: int, quarantined: int) -> None:
        self._done += num
        self._quarantined += quarantined
        self._bar.update(self._task, completed=self._done, figures=self._figures())

    def _figures(self) -> str:
        return f"{self.per_s:,.1f} {self._item}/s, {self._quarantined:,} quarantined"

    def _log(self) -> None:
        if not self._console.is_terminal:
            left = f", {(self._total - self._done) / self.per_s:,.0f} s left" if 0 < self._worked < self._total else ""
            self._console.print(
                f"{self._title}: {self._done:,} of {self._total:,} {self._item}, {self._figures()}{left}"
            )

    def _tell(self) -> None:
        if self._run is not None and self._worked:
            figures = {f"{self._item}_per_s": self.per_s, "quarantined": float(self._quarantined)}
            self._run.metrics(figures, step=self._done)
