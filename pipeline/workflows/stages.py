"""Stages one after another, for jobs that are made of other jobs."""

import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from rich.table import Table
from rich.text import Text

from pipeline.execution.manifest import Manifest
from pipeline.storage import Folder
from pipeline.terminal import show
from pipeline.tracking.run import Run


class StageConfig(Protocol):
    """What the configuration of every stage has."""

    @property
    def out(self) -> str:
        """The stage's output folder."""
        ...


Config = TypeVar("Config", bound=StageConfig)
StageResult = TypeVar("StageResult")


class Workflow:
    """Runs stages one after another, each as a child run; prints their names and measures their time."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._minutes: dict[str, float] = {}
        self._finished_before: set[str] = set()

    def stage(self, name: str, carry_out: Callable[[Config, Run], StageResult], config: Config) -> StageResult:
        """Carries out a stage, or finds it finished, and gives its result."""
        if Manifest.newest(Folder(config.out)) is not None:
            self._finished_before.add(name)
        with self._run.child(name, config, out=config.out) as child:
            return self.time(name, lambda: carry_out(config, child))

    def time(self, name: str, carry_out: Callable[[], StageResult]) -> StageResult:
        """Calls a function and gives its result. Prints its name and keeps the minutes that it takes."""
        show("", Text.assemble((name, "bold"), " (finished before)" if name in self._finished_before else ""))
        start = time.monotonic()
        result = carry_out()
        self._minutes[name] = (time.monotonic() - start) / 60
        self._run.metrics({f"minutes/{name}": self._minutes[name]})
        return result

    def table(self) -> Table:
        """A table of the minutes of each stage and of all together. Stages that were finished before have none."""
        table = Table(title="Minutes", title_justify="left", title_style="bold", show_footer=True)
        table.add_column("", footer="all")
        table.add_column("minutes", justify="right", footer=f"{sum(self._minutes.values()):.1f}")
        for name, minutes in self._minutes.items():
            table.add_row(Text(name), "before" if name in self._finished_before else f"{minutes:.1f}")
        return table
