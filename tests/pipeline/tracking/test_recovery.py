"""Spools that ended runs have left."""

from pathlib import Path

import pytest

from pipeline.tracking import recovery
from pipeline.tracking.recovery import start_sweeping
from pipeline.tracking.spool import Journal, Record, Sender
from tests.harness.inbox import Inbox
from tests.harness.waiting import wait_for


def test_a_spool_with_a_living_writer_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own sender needs the lock, to send the end of its run in time."""
    monkeypatch.setattr(recovery, "SWEEP_INTERVAL_S", 0.01)
    inbox, swept = Inbox(), []

    def sender_of(folder: Path, header: Record) -> Sender:
        swept.append(header["of"])
        return Sender(folder, inbox.deliver, "inbox")

    alive, ended = Journal(tmp_path / "a", {"of": "the living"}), Journal(tmp_path / "b", {"of": "the dead"})
    ended.close()
    start_sweeping(tmp_path, sender_of)
    wait_for(lambda: not (tmp_path / "b").exists())
    assert swept == ["the dead"]
    alive.close()
    wait_for(lambda: not (tmp_path / "a").exists())
    assert swept == ["the dead", "the living"]
    tmp_path.rename(tmp_path.with_name("gone"))  # Ends the sweeper.
