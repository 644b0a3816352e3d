"""Journals and their courier, without any server."""

import json
import multiprocessing
import os
import signal
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from pipeline.tracking import recovery as leftovers
from pipeline.tracking import spool
from pipeline.tracking.spool import Courier, Journal, Record, first_record, remove_if_empty, try_lock
from tests.harness.waiting import wait_for


class Inbox:
    """A server that keeps what it gets, and can be away."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.away = False

    def deliver(self, records: list[Record]) -> None:
        if self.away:
            raise ConnectionError("nobody there")
        self.records += records

    @property
    def numbers(self) -> list[int]:
        return [record["number"] for record in self.records if "number" in record]


def write_and_die(folder: Path) -> None:
    journal = Journal(folder, {"of": "the dead"})
    journal.append({"number": 1})
    os.kill(os.getpid(), signal.SIGKILL)


def lead_and_die(folder: Path, ready: Event) -> None:
    assert try_lock(folder / "lock") is not None
    ready.set()
    signal.pause()


def test_records_arrive_in_order_and_once(tmp_path: Path) -> None:
    inbox = Inbox()
    journal, courier = Journal(tmp_path, {"of": "me"}), Courier(tmp_path, inbox.deliver, "inbox")
    for number in range(3):
        journal.append({"number": number})
        assert courier.turn()
    journal.append({"number": 3})
    journal.close()
    assert courier.turn()
    assert inbox.records == [{"of": "me"}, *({"number": number} for number in range(4))]
    courier.release()
    remove_if_empty(tmp_path)
    assert not tmp_path.exists()


def test_what_cannot_be_sent_waits_and_the_log_says_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    inbox = Inbox()
    inbox.away = True
    journal, courier = Journal(tmp_path, {}), Courier(tmp_path, inbox.deliver, "inbox")
    for number in range(3):
        journal.append({"number": number})
        assert not courier.turn()
    inbox.away = False
    assert courier.turn()
    assert inbox.numbers == [0, 1, 2]
    assert [record.getMessage().split(" ", 1)[1][:14] for record in caplog.records] == [
        "can't be reach",
        "is back and ha",
    ]
    journal.close()


def test_a_background_courier_sends_at_once_when_flushed(tmp_path: Path) -> None:
    inbox = Inbox()
    journal, courier = Journal(tmp_path, {}), Courier(tmp_path, inbox.deliver, "inbox")
    courier.start()
    for number in range(100):
        journal.append({"number": number})
    assert courier.flush(timeout_s=10)
    assert inbox.numbers == list(range(100))
    inbox.away = True
    assert courier.flush(timeout_s=10)  # There was nothing to send.
    journal.append({"number": 100})
    assert not courier.flush(timeout_s=10)
    courier.stop()
    journal.close()


def test_a_dead_process_leaves_its_records_and_its_lock(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writer = context.Process(target=write_and_die, args=(tmp_path,))
    writer.start()
    writer.join()
    ready = context.Event()
    leader = context.Process(target=lead_and_die, args=(tmp_path, ready))
    leader.start()
    assert ready.wait(10)
    inbox = Inbox()
    courier = Courier(tmp_path, inbox.deliver, "inbox")
    assert first_record(tmp_path) == {"of": "the dead"}
    assert not courier.turn()
    leader.kill()
    leader.join()
    assert courier.turn()
    assert inbox.numbers == [1]
    assert not list(tmp_path.glob("*.jsonl"))
    courier.release()


def test_a_long_journal_goes_on_in_a_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 200)
    inbox = Inbox()
    journal, courier = Journal(tmp_path, {"of": "me"}), Courier(tmp_path, inbox.deliver, "inbox")
    for number in range(50):
        journal.append({"number": number})
    assert len(list(tmp_path.glob("*.jsonl"))) > 3
    assert courier.turn()
    assert inbox.numbers == list(range(50))
    assert len(list(tmp_path.glob("*.jsonl"))) == 1
    journal.close()
    courier.release()


def test_a_torn_line_costs_only_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = [json.dumps({"number": 1}), '{"numb', json.dumps({"number": 2}), '{"number": 3']
    (tmp_path / "1.jsonl").write_text("\n".join(lines))
    inbox = Inbox()
    courier = Courier(tmp_path, inbox.deliver, "inbox")
    assert courier.turn()
    assert inbox.numbers == [1, 2]
    assert "torn line" in caplog.text
    courier.release()


def test_what_a_living_process_writes_is_left_to_its_own_courier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweeper that took its lock would keep it from sending the end of its run in time."""
    monkeypatch.setattr(leftovers, "SWEEP_S", 0.01)
    inbox, swept = Inbox(), []

    def courier_of(folder: Path, header: Record) -> Courier:
        swept.append(header["of"])
        return Courier(folder, inbox.deliver, "inbox")

    alive, ended = Journal(tmp_path / "a", {"of": "the living"}), Journal(tmp_path / "b", {"of": "the dead"})
    ended.close()
    leftovers.sweep_from_now_on(tmp_path, courier_of)
    wait_for(lambda: not (tmp_path / "b").exists())
    assert swept == ["the dead"]
    alive.close()
    wait_for(lambda: not (tmp_path / "a").exists())
    assert swept == ["the dead", "the living"]
    tmp_path.rename(tmp_path.with_name("gone"))  # Ends the sweeper.
