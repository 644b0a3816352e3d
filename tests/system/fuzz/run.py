"""Many damaged files in processes that are watched, as one that hangs or dies can't say so itself."""

import multiprocessing
import os
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkContext, ForkProcess
from pathlib import Path
from typing import NamedTuple

from tests.system.fuzz.attempt import Outcome, attempt, damaged_file
from tests.system.fuzz.door import MakeDoor

LIMIT_S = 20.0
"""For one file of some kilobytes, on a busy machine."""
READY_S = 300.0
ADDRESS_BYTES = 8 << 30
"""Memory that may be asked for beside what the process has, used or not."""
PART = 2000
GIVEN_UP_AFTER = 5
"""Hangs and crashes of one door, each of which costs a process."""


class Part(NamedTuple):
    """Numbers of files of one door, worked on by one process."""

    door: str
    start: int
    stop: int


class Finding(NamedTuple):
    """What was found first of a kind, and by which file."""

    door: str
    number: int
    outcome: Outcome


@dataclass
class Tally:
    """What came of all files of one door."""

    inputs: int = 0
    values: int = 0
    seconds: float = 0.0
    refused: Counter[str] = field(default_factory=Counter)
    found: dict[tuple[str, str], Finding] = field(default_factory=dict)
    num_findings: int = 0
    deaths: int = 0

    def add(self, door: str, number: int, outcome: Outcome) -> None:
        """Counts what came of a file."""
        self.inputs += 1
        if outcome.kind == "value":
            self.values += 1
        elif outcome.kind == "refused":
            self.refused[outcome.reason] += 1
        else:
            self.num_findings += 1
            self.found.setdefault((outcome.kind, outcome.reason), Finding(door, number, outcome))


class Fuzz:
    """A run over some doors with one seed, in `processes` at once."""

    def __init__(
        self, doors: Mapping[str, MakeDoor], seed: str, *, processes: int = 2, limit_s: float = LIMIT_S
    ) -> None:
        self.tallies = {name: Tally() for name in doors}
        self._doors, self._seed, self._limit_s, self._num = doors, seed, limit_s, processes
        self._context = multiprocessing.get_context("fork")

    def run(self, inputs: Mapping[str, int]) -> None:
        """Reads so many files through each door."""
        with tempfile.TemporaryDirectory(prefix="fuzz") as place:
            self._run(list(_parts(inputs)), Path(place))

    def _run(self, parts: list[Part], place: Path) -> None:
        workers: list[_Worker] = []
        while parts or workers:
            while parts and len(workers) < self._num:
                part = parts.pop(0)
                if self.tallies[part.door].deaths < GIVEN_UP_AFTER:
                    workers.append(_Worker(self._context, self._doors[part.door], self._seed, part, place))
            wait([each.receiver for each in workers], timeout=0.2)
            for worker in list(workers):
                if (rest := self._heard(worker)) is not None:
                    workers.remove(worker)
                    worker.end()
                    if rest.start < rest.stop:
                        parts.insert(0, rest)

    def _heard(self, worker: "_Worker") -> Part | None:
        """Takes what a worker has sent. What it leaves to others if it has ended or had to be ended, else None."""
        tally, part = self.tallies[worker.part.door], worker.part
        try:
            while worker.receiver.poll():
                number, outcome = worker.receiver.recv()
                tally.seconds += time.monotonic() - worker.since
                worker.next, worker.since = number + 1, time.monotonic()
                if outcome is not None:
                    tally.add(part.door, number, outcome)
        except EOFError:
            if worker.next == part.stop:
                return part._replace(start=part.stop)
            how = f"died with exit code {worker.exit_code()}"
            death = Outcome("crash", how, how)
        else:
            # Making a door ready loads libraries, which takes long on a busy machine.
            limit_s = self._limit_s if worker.next >= part.start else max(self._limit_s, READY_S)
            if time.monotonic() - worker.since < limit_s:
                return None
            death = Outcome("hang", f"over {self._limit_s:g} s", f"over {self._limit_s:g} s")
        tally.deaths += 1
        if worker.next < part.start:
            raise RuntimeError(f"{part.door} could not be made ready: {death.detail}")
        tally.add(part.door, worker.next, death)
        return part._replace(start=worker.next + 1)


class _Worker:
    """A process that works on a part, and what it has sent."""

    def __init__(self, context: ForkContext, make: MakeDoor, seed: str, part: Part, place: Path) -> None:
        self.part, self.since = part, time.monotonic()
        self.next = part.start - 1  # The door itself comes first.
        self.receiver, sender = context.Pipe(duplex=False)
        self._process: ForkProcess = context.Process(target=_work, args=(make, seed, part, place, sender))
        self._process.start()
        sender.close()

    def exit_code(self) -> int | None:
        self._process.join(5)
        return self._process.exitcode

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self.receiver.close()


def _work(make: MakeDoor, seed: str, part: Part, place: Path, sender: Connection) -> None:
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    door = make(Path(tempfile.mkdtemp(dir=place)))
    limit = _address_bytes() + ADDRESS_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    sender.send((part.start - 1, None))
    for number in range(part.start, part.stop):
        sender.send((number, attempt(door, damaged_file(door, seed, part.door, number))))
    sender.close()


def _address_bytes() -> int:
    with open("/proc/self/statm") as pages:
        return int(pages.read().split()[0]) * resource.getpagesize()


def _parts(inputs: Mapping[str, int]) -> Iterator[Part]:
    for door, num in inputs.items():
        for start in range(0, num, PART):
            yield Part(door, start, min(start + PART, num))


def table(tallies: Mapping[str, Tally]) -> str:
    """What came of all files, a line for each door, with the most frequent reasons for refusing one."""
    lines = [f"{'reader':<26} {'inputs':>8} {'values':>8} {'refused':>8} {'findings':>8} {'seconds':>8}"]
    rows = [(name, each) for name, each in tallies.items() if each.inputs]
    for name, each in [*rows, ("all", _sum([tally for _, tally in rows]))]:
        numbers = (each.inputs, each.values, each.refused.total(), each.num_findings, round(each.seconds))
        lines.append(f"{name:<26} " + " ".join(f"{number:>8,}" for number in numbers))
        if name != "all":
            lines += [f"    {num:>6,}  {reason}" for reason, num in each.refused.most_common(3)]
    return "\n".join(lines)


def _sum(tallies: Sequence[Tally]) -> Tally:
    total = Tally()
    for each in tallies:
        total.inputs += each.inputs
        total.values += each.values
        total.seconds += each.seconds
        total.refused += each.refused
        total.num_findings += each.num_findings
    return total
