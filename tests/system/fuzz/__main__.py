"""Reads damaged files of every kind through every door: `make fuzz`, with SEED and INPUTS.

python -m tests.system.fuzz [--seed SEED] [--inputs NUMBER] [--reader NAME]... [--processes NUMBER]
python -m tests.system.fuzz --seed SEED --reader NAME --input NUMBER       one file again, with its traceback
"""

import argparse
import os
import shlex
import sys
import tempfile
import time
from pathlib import Path

# Before Arrow and the C library are loaded: allocations are the process's own and can be limited and measured.
os.environ |= {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "2", "JAXTYPING_DISABLE": "1"}

from tests.harness.repository import REPOSITORY
from tests.system.fuzz.attempt import attempt, damaged_file
from tests.system.fuzz.doors import DOORS, shares
from tests.system.fuzz.run import Fuzz, table

KEPT = REPOSITORY / ".fuzz"
"""Files that led to findings, and what they led to; git ignores the folder."""


def main() -> int:
    """Prints the table of a run, and gives 1 if there are findings."""
    parser = argparse.ArgumentParser(prog="python -m tests.system.fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", default="0")
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--reader", action="append", choices=list(DOORS), default=None)
    parser.add_argument("--input", type=int, default=None)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    chosen = given.reader or list(DOORS)
    if given.input is not None:
        return _again(given.seed, chosen[0], given.input)
    began = time.monotonic()
    fuzz = Fuzz({name: DOORS[name] for name in chosen}, given.seed, processes=given.processes)
    fuzz.run(shares(chosen, given.inputs))
    print(table(fuzz.tallies))
    print(f"seed {given.seed}, {time.monotonic() - began:,.0f} s")
    findings = [finding for tally in fuzz.tallies.values() for finding in tally.found.values()]
    for door, number, outcome in findings:
        command = ["python", "-m", "tests.system.fuzz", "--seed", given.seed, "--reader", door, "--input", str(number)]
        print(f"\n{outcome.kind}: {outcome.reason}\n    again: {shlex.join(command)}")
        _keep(f"{given.seed}-{door}-{number}.txt", f"{shlex.join(command)}\n{outcome.kind}\n{outcome.detail}".encode())
    return 1 if findings else 0


def _again(seed: str, name: str, number: int) -> int:
    """One file again in this process; it is kept, too."""
    with tempfile.TemporaryDirectory(prefix="fuzz") as place:
        door = DOORS[name](Path(place))
        file = damaged_file(door, seed, name, number)
        print(f"the file: {_keep(f'{seed}-{name}-{number}.bin', file.data)}")
        outcome = attempt(door, file)
    print(f"{outcome.kind}: {outcome.reason}\n{outcome.detail}")
    return 1 if outcome.is_finding else 0


def _keep(name: str, data: bytes) -> Path:
    KEPT.mkdir(exist_ok=True)
    path = KEPT / name.replace(" ", "-").replace("/", "-")
    path.write_bytes(data)
    return path


if __name__ == "__main__":
    sys.exit(main())
