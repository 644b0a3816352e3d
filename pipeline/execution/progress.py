"""How far a long piece of work is: the one progress display of this project, and the counting of a stage's items."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from pipeline.tracking.run import Run

LINES_EVERY_S = 30.0
METRICS_EVERY_S = 5.0


class Progress:
    """A display of work in progress: a bar on a terminal, a line every 30 seconds in a log.

        with Progress("train", "steps", total=1000) as progress:
            progress.resume(400)
            progress.show(401, "loss 5.31")

    `unit` is the plural of what is counted. Use it as a context manager: the display begins and ends with the block.
    """

    def __init__(self, title: str, unit: str, *, total: int, figures: str = "") -> None:
        self._title, self._unit, self._total, self._figures = title, unit, total, figures
        self._done = self._before = 0
        self._is_logged = False
        self._console = Console(stderr=True)
        self._bar = Bar(
            TextColumn("{task.description}", markup=False),  # A title may hold brackets, which are no markup.
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(title, total=total, figures=figures)

    def __enter__(self) -> Self:
        self._began = self._logged_at = time.monotonic()
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()
        if not self._is_logged:
            self._log()

    @property
    def per_s(self) -> float:
        """The speed in units a second, without what was done before."""
        return (self._done - self._before) / max(time.monotonic() - self._began, 1e-9)

    def resume(self, done: int, figures: str = "") -> None:
        """Begins at `done` units that were done before; the clock of the speed starts now."""
        self._before, self._began = done, time.monotonic()
        self._update(done, figures)

    def show(self, done: int, figures: str = "") -> None:
        """Shows that so many units are done in all, and other figures of the work as a text ("loss 5.31")."""
        self._update(done, figures)
        if time.monotonic() - self._logged_at >= LINES_EVERY_S:
            self._log()

    def _update(self, done: int, figures: str) -> None:
        self._done, self._is_logged = done, False
        speed = f"{self.per_s:,.{1 if self.per_s >= 10 else 2}f} {self._unit}/s" if done > self._before else ""
        self._figures = ", ".join(filter(None, (speed, figures)))
        self._bar.update(self._task, completed=done, figures=self._figures)

    def _log(self) -> None:
        self._logged_at, self._is_logged = time.monotonic(), True
        if self._console.is_terminal:
            return
        parts = [f"{self._title}: {self._done:,} of {self._total:,} {self._unit}", self._figures]
        if self._before < self._done < self._total:
            parts.append(f"{(self._total - self._done) / self.per_s:,.0f} s left")
        self._console.print(", ".join(filter(None, parts)), markup=False, highlight=False, soft_wrap=True)


class StageProgress:
    """The progress of a stage, shown and sent to its run: items a second, and items quarantined.

    `item` is the plural of what is counted ("images"); the metrics are {item}_per_s and quarantined, by items done.
    """

    def __init__(self, title: str, item: str, *, total: int, run: Run | None = None) -> None:
        self._item, self._run = item, run
        self._progress = Progress(title, item, total=total)
        self._done = self._worked = self._quarantined = 0

    def __enter__(self) -> Self:
        self._sent_at = time.monotonic()
        self._progress.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._progress.__exit__(kind, error, at)
        self._send()

    def found(self, num: int, quarantined: int = 0) -> None:
        """Counts items that were done before."""
        self._done += num
        self._quarantined += quarantined
        self._progress.resume(self._done, self._figures)

    def advance(self, num: int, quarantined: int = 0) -> None:
        """Counts items that were done now."""
        self._done += num
        self._worked += num
        self._quarantined += quarantined
        self._progress.show(self._done, self._figures)
        if time.monotonic() - self._sent_at >= METRICS_EVERY_S:
            self._sent_at = time.monotonic()
            self._send()

    @property
    def _figures(self) -> str:
        return f"{self._quarantined:,} quarantined"

    def _send(self) -> None:
        if self._run is not None and self._worked:
            figures = {f"{self._item}_per_s": self._progress.per_s, "quarantined": float(self._quarantined)}
            self._run.metrics(figures, step=self._done)
