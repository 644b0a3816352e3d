"""The progress display: lines in a log, speed without what was done before, figures of a stage for its run."""

from collections.abc import Mapping
from typing import Any

import pytest

from pipeline.execution import progress
from pipeline.execution.progress import Progress, StageProgress


class Clock:
    """A clock that stands still unless it is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_a_log_gets_a_line_now_and_then_and_one_at_the_end(clock: Clock, capsys: pytest.CaptureFixture) -> None:
    with Progress("runs/[v2]/x", "steps", total=1000) as shown:
        clock.now += 20
        shown.resume(400)
        for step in range(401, 441):
            clock.now += 1
            shown.show(step, f"loss {step}")
    assert capsys.readouterr().err.splitlines() == [
        "runs/[v2]/x: 410 of 1,000 steps, 1.00 steps/s, loss 410, 590 s left",
        "runs/[v2]/x: 440 of 1,000 steps, 1.00 steps/s, loss 440, 560 s left",
    ]


def test_work_that_ends_at_once_gets_its_line(clock: Clock, capsys: pytest.CaptureFixture) -> None:
    with Progress("train", "steps", total=10, figures="starting"):
        pass
    assert capsys.readouterr().err == "train: 0 of 10 steps, starting\n"


class Figures:
    """Keeps the metrics that a run would get."""

    def __init__(self) -> None:
        self.points: list[tuple[int, Mapping[str, float]]] = []

    def metrics(self, values: Mapping[str, float], *, step: int = 0) -> None:
        self.points.append((step, dict(values)))


def test_a_run_gets_the_speed_of_what_was_done_now(clock: Clock, capsys: pytest.CaptureFixture) -> None:
    run: Any = Figures()
    with StageProgress("tokenize", "images", total=100, run=run) as shown:
        shown.found(40, 1)
        for _ in range(3):
            clock.now += 4
            shown.advance(20, 1)
    # Points come at least 5 seconds apart, and at the end.
    assert run.points == [
        (80, {"images_per_s": 5.0, "quarantined": 3.0}),
        (100, {"images_per_s": 5.0, "quarantined": 4.0}),
    ]
    assert capsys.readouterr().err == "tokenize: 100 of 100 images, 5.00 images/s, 4 quarantined\n"


def test_a_stage_without_work_sends_nothing(clock: Clock) -> None:
    run: Any = Figures()
    with StageProgress("tokenize", "images", total=40, run=run) as shown:
        shown.found(40)
    assert run.points == []
