"""A stage in small, which doubles numbers, with and without Ray."""

import json
from functools import partial
from pathlib import Path

import numpy as np

from bar_model.errors import BadInput
from pipeline.execution.manifest import Quarantined
from pipeline.execution.ray_data import Workers
from pipeline.execution.stage import run_units
from pipeline.execution.unit import Contents, Row, Unit, Work, finish_unit
from pipeline.storage import Folder

NUMBERS = [[1, 2, 3], [4], [], [5, 6, 7], [8, 9], [10, 11, 12]]


def plan(numbers: list[list[int]]) -> list[Unit]:
    """A unit for each list of numbers."""
    return [Unit(index=index, size=len(some), payload=some) for index, some in enumerate(numbers)]


class Count:
    """A stage in small: a unit's payload is a list of numbers, of which the negative ones can't be used."""

    def __init__(self, log: str | None = None) -> None:
        self.log = log

    def read(self, unit: Unit) -> Row:
        """The numbers of a unit, those that can be used and the others."""
        if self.log is not None:
            with Path(self.log).open("a") as file:
                file.write(f"{unit.index}\n")
        good = [number for number in unit.payload if number >= 0]
        bad = [Quarantined(str(number), f"number/{number}", "is negative") for number in unit.payload if number < 0]
        return {"numbers": np.array(good, np.int64).reshape(-1, 1), "bad": json.dumps(Quarantined.to_rows(bad))}

    def build(self) -> "Double":
        """The step of a worker."""
        return Double()

    def pack(self, row: Row) -> bytes:
        """The content of a unit's file: JSON."""
        return json.dumps({"numbers": np.ravel(row["doubled"]).tolist(), "bad": json.loads(row["bad"])}).encode()

    def inspect(self, data: bytes) -> Contents:
        """What the content of a file says of itself."""
        try:
            content = json.loads(data)
        except ValueError as error:
            raise BadInput("it is no JSON") from error
        return Contents(len(content["numbers"]), Quarantined.from_rows(content["bad"]))

    def work(self) -> Work:
        """The steps of this stage."""
        return Work(
            stage="count",
            item="numbers",
            name="count-{}.json",
            read=self.read,
            build=self.build,
            pack=self.pack,
            inspect=self.inspect,
        )


class Double:
    """The step of a worker: `numbers` -> `doubled`."""

    def __call__(self, row: Row) -> Row:
        return {"doubled": row["numbers"] * 2, "bad": row["bad"]}


count = partial(run_units, configuration={"by": 2}, workers=Workers(num=1))
"""Runs the stage on a folder and gives its manifest."""


def by_hand(folder: Folder, work: Work, units: list[Unit]) -> None:
    """Does the same steps without Ray; writes no manifest."""
    step = work.build()
    for unit in units:
        finish_unit(folder, work, unit, step(work.read(unit)))


def contents(folder: Folder) -> dict[str, bytes]:
    """The contents of all files of a folder, by name."""
    return {entry.name: folder.read(entry.name) for entry in folder.list()}
