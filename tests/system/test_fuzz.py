"""The fuzz run: a short one over all readers finds nothing, and it finds defects that are planted."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest

from bar_model.errors import BadInput
from tests.system.fuzz import attempt as attempt_module
from tests.system.fuzz.attempt import attempt, damaged_file
from tests.system.fuzz.damage import bytes_damaged
from tests.system.fuzz.door import Door, Loss, MakeDoor
from tests.system.fuzz.doors import DOORS, shares
from tests.system.fuzz.run import Fuzz, table

pytestmark = pytest.mark.long

ORIGINAL = b'{"rows": [1, 2, 3]}'


@pytest.mark.parametrize("name", DOORS)
def test_no_reader_falls_over_a_few_damaged_files(name: str, tmp_path: Path) -> None:
    door = DOORS[name](tmp_path)
    outcomes = [attempt(door, damaged_file(door, "test", name, number)) for number in range(12)]
    assert not [outcome for outcome in outcomes if outcome.is_finding]
    for original in door.originals:
        assert door.enter(original, original) >= 0


def planted(enter: Callable[[bytes, bytes], int]) -> MakeDoor:
    return lambda _: Door([ORIGINAL], bytes_damaged, enter)


def _key_error(data: bytes, original: bytes) -> int:
    return {"rows": 3}[data.decode(errors="replace")[2:6]]


def _lost_row(data: bytes, original: bytes) -> int:
    if data[-3:] != original[-3:]:
        raise Loss("2 of 3 rows")
    return 3


def _refused(data: bytes, original: bytes) -> int:
    raise BadInput("too odd: mend it")


def _grown(data: bytes, original: bytes) -> int:
    np.ones((128 if data[:1] != original[:1] else 8) << 20, np.uint8)
    return 3


def _endless(data: bytes, original: bytes) -> int:
    while data[:1] != original[:1]:
        time.sleep(0.01)
    return 3


def _dying(data: bytes, original: bytes) -> int:
    if data[:1] != original[:1]:
        os.kill(os.getpid(), signal.SIGKILL)
    return 3


@pytest.mark.system
@pytest.mark.parametrize(
    ("enter", "kind", "reason"),
    [
        (_key_error, "traceback", "KeyError"),
        (_lost_row, "loss", "… of … rows"),
        (_refused, "loss", "a sound file is refused: too odd: mend it"),
        (_grown, "memory", "over 64 MiB more memory"),
        (_endless, "hang", "over 1 s"),
        (_dying, "crash", "died with exit code -9"),
    ],
)
def test_a_planted_defect_is_found(
    monkeypatch: pytest.MonkeyPatch, enter: Callable[[bytes, bytes], int], kind: str, reason: str
) -> None:
    monkeypatch.setattr(attempt_module, "MEMORY_BYTES", 64 << 20)
    fuzz = Fuzz({"planted": planted(enter)}, "0", processes=1, limit_s=1)
    fuzz.run({"planted": 60})
    tally = fuzz.tallies["planted"]
    first = next(iter(tally.found.values()))
    assert first.outcome.kind == kind
    assert reason in first.outcome.reason
    assert tally.inputs == tally.values + tally.refused.total() + tally.num_findings == 60 or tally.deaths
    assert f"{tally.num_findings}" in table(fuzz.tallies)
    file = damaged_file(planted(enter)(Path()), "0", "planted", first.number)
    assert file == damaged_file(planted(enter)(Path()), "0", "planted", first.number)


def test_a_hang_costs_its_file_and_not_the_rest() -> None:
    """The files after one that hangs or kills its process are read by the next process."""
    fuzz = Fuzz({"planted": planted(_dying)}, "1", processes=2, limit_s=1)
    fuzz.run({"planted": 40})
    tally = fuzz.tallies["planted"]
    assert tally.values > 0
    assert tally.inputs == 40 or tally.deaths >= 5


def test_every_file_follows_from_its_seed_and_number() -> None:
    door = planted(_lost_row)(Path())
    files = [damaged_file(door, "s", "d", number) for number in range(200)]
    assert files == [damaged_file(door, "s", "d", number) for number in range(200)]
    assert len({file.data for file in files}) > 150
    assert sum(file.data == file.original for file in files) >= 1
    assert bytes_damaged(Random(1), ORIGINAL, [ORIGINAL]) == bytes_damaged(Random(1), ORIGINAL, [ORIGINAL])


def test_inputs_are_shared_out_among_all_readers() -> None:
    shared = shares(list(DOORS), 100_000)
    assert sum(shared.values()) >= 100_000
    assert min(shared.values()) >= 1000
