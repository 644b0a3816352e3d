"""Journals and their sender, with a server in memory."""

import json
import multiprocessing
import os
import signal
import stat
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from pipeline.tracking import spool
from pipeline.tracking.spool import Journal, Record, Sender, first_record, remove_if_empty, try_lock, write_private
from tests.harness.inbox import Inbox


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
    journal, sender = Journal(tmp_path, {"of": "me"}), Sender(tmp_path, inbox.deliver, "inbox")
    for number in range(3):
        journal.append({"number": number})
        assert sender.send()
    journal.append({"number": 3})
    journal.close()
    assert sender.send()
    assert inbox.records == [{"of": "me"}, *({"number": number} for number in range(4))]
    sender.release()
    remove_if_empty(tmp_path)
    assert not tmp_path.exists()


def test_records_wait_for_an_unreachable_server_and_the_log_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    inbox = Inbox()
    inbox.is_unreachable = True
    journal, sender = Journal(tmp_path, {}), Sender(tmp_path, inbox.deliver, "inbox")
    for number in range(3):
        journal.append({"number": number})
        assert not sender.send()
    inbox.is_unreachable = False
    assert sender.send()
    assert inbox.numbers == [0, 1, 2]
    assert [record.getMessage().split(" ", 1)[1][:14] for record in caplog.records] == [
        "can't be reach",
        "is back and ha",
    ]
    journal.close()


def test_a_background_sender_sends_at_once_when_flushed(tmp_path: Path) -> None:
    inbox = Inbox()
    journal, sender = Journal(tmp_path, {}), Sender(tmp_path, inbox.deliver, "inbox")
    sender.start()
    for number in range(100):
        journal.append({"number": number})
    assert sender.flush(timeout_s=10)
    assert inbox.numbers == list(range(100))
    inbox.is_unreachable = True
    assert sender.flush(timeout_s=10)  # There was nothing to send.
    journal.append({"number": 100})
    assert not sender.flush(timeout_s=10)
    sender.stop()
    journal.close()


def test_records_and_lock_of_a_dead_process_are_taken_over(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writer = context.Process(target=write_and_die, args=(tmp_path,))
    writer.start()
    writer.join()
    ready = context.Event()
    leader = context.Process(target=lead_and_die, args=(tmp_path, ready))
    leader.start()
    assert ready.wait(10)
    inbox = Inbox()
    sender = Sender(tmp_path, inbox.deliver, "inbox")
    assert first_record(tmp_path) == {"of": "the dead"}
    assert not sender.send()
    leader.kill()
    leader.join()
    assert sender.send()
    assert inbox.numbers == [1]
    assert not list(tmp_path.glob("*.jsonl"))
    sender.release()


def test_a_long_journal_goes_on_in_a_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 200)
    inbox = Inbox()
    journal, sender = Journal(tmp_path, {"of": "me"}), Sender(tmp_path, inbox.deliver, "inbox")
    for number in range(50):
        journal.append({"number": number})
    assert len(list(tmp_path.glob("*.jsonl"))) > 3
    assert sender.send()
    assert inbox.numbers == list(range(50))
    assert len(list(tmp_path.glob("*.jsonl"))) == 1
    journal.close()
    sender.release()


def test_a_torn_line_costs_only_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = [json.dumps({"number": 1}), '{"numb', json.dumps({"number": 2}), '{"number": 3']
    (tmp_path / "1.jsonl").write_text("\n".join(lines))
    inbox = Inbox()
    sender = Sender(tmp_path, inbox.deliver, "inbox")
    assert sender.send()
    assert inbox.numbers == [1, 2]
    assert "torn line" in caplog.text
    sender.release()


def test_nobody_else_can_read_a_spool(tmp_path: Path) -> None:
    """The header of a journal holds the server's address, with its password."""
    before = os.umask(0)
    try:
        journal = Journal(tmp_path / "spool" / "key", {"of": "me"})
        write_private(tmp_path / "spool" / "key" / "x.data", b"x")
        lock = try_lock(tmp_path / "spool" / "key" / "driver")
    finally:
        os.umask(before)
    journal.close()
    os.close(lock or -1)
    folder = tmp_path / "spool" / "key"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    assert len(list(folder.iterdir())) == 3


def test_records_that_wait_come_first_and_outlive_the_process(tmp_path: Path) -> None:
    """Of files whose store is away: they hold up no other record."""
    inbox, is_away = Inbox(), True

    def deliver(records: list[Record]) -> list[Record]:
        inbox.deliver([record for record in records if not (is_away and record.get("kind") == "file")])
        return [record for record in records if is_away and record.get("kind") == "file"]

    journal, sender = Journal(tmp_path, {"of": "me"}), Sender(tmp_path, deliver, "inbox")
    for number in range(4):
        journal.append({"number": number, **({"kind": "file"} if number % 2 == 0 else {})})
    assert sender.send()
    journal.close()
    assert sender.send()
    sender.release()
    assert (inbox.numbers, len(list(tmp_path.glob("*.jsonl")))) == ([1, 3], 0)
    assert first_record(tmp_path) == {"of": "me"}
    is_away = False
    after = Sender(tmp_path, deliver, "inbox")
    assert after.send()
    assert inbox.numbers == [1, 3, 0, 2]
    assert first_record(tmp_path) is None
    after.release()
