"""The lease of an output folder, so that of two trainings that are started into one folder the second is refused.

The holder writes `lease-000001.json` into the folder, says in it who it is, and writes it anew every few seconds. Who
finds a lease looks whether its holder lives: on the same machine by the process, elsewhere by whether the file still
changes, which needs no clocks that agree. A dead holder's lease is overtaken by one of the next number: as the file of
a number can be made only once, on a disk as on S3, one of several succeeds.
"""

import json
import os
import re
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from bar_model.configuration import json_file
from bar_model.errors import BadInput, WorkFailed
from pipeline.storage import Folder

BEAT_S = 4.0
"""Seconds from one writing of the lease to the next."""
SILENCE_S = 15.0
"""Seconds without any after which a holder on another machine is taken for dead."""
_POLL_S = 0.5
_FILE = re.compile(r"lease-(\d{6})\.json")
_held: dict[str, "_Lease"] = {}


class _Lease(NamedTuple):
    """The lease that this process holds of a folder: its file, and whether another has overtaken it."""

    folder: Folder
    name: str
    lost: threading.Event


@contextmanager
def lease(url: str) -> Iterator[None]:
    """Holds the lease of an output folder while the block lasts; blocks within it share it.

    Raises:
        BadInput: another training works in this folder.
    """
    folder = Folder(url)
    if folder.url in _held:
        yield
        return
    was_there = folder.exists()
    mine = _held[folder.url] = _Lease(folder, _take(folder), threading.Event())
    ended = threading.Event()
    beats = threading.Thread(target=_beat, args=(mine, ended), name="lease", daemon=True)
    beats.start()
    try:
        yield
    finally:
        ended.set()
        beats.join()
        del _held[folder.url]
        with suppress(OSError):  # A lease that stays is overtaken, as after a kill.
            folder.remove(mine.name)
            if folder.is_local and not was_there:
                Path(folder.url).rmdir()  # Unless something was made in it.


def check_lease(url: str) -> None:
    """Checks, before anything final is written, that the lease is still this process's.

    Raises:
        WorkFailed: another training has taken the folder over.
    """
    mine = _held.get(Folder(url).url)
    if mine is not None and mine.lost.is_set():
        raise WorkFailed(
            f"{mine.folder} was taken over by another training, since this one could not say for {SILENCE_S:g} s that "
            "it still works there: see to that one"
        )


def _take(folder: Folder) -> str:
    """The name of the lease that is now this process's."""
    token = uuid.uuid4().hex
    while True:
        names = _names(folder)
        if names and (holder := _live_holder(folder, names[-1])) is not None:
            raise BadInput(
                f"{folder} is where another training works ({holder}): wait for its end, stop it, or choose another "
                "--out"
            )
        number = int(_FILE.fullmatch(names[-1])[1]) + 1 if names else 1  # pyright: ignore[reportOptionalSubscript]
        name = f"lease-{number:06d}.json"
        # A put that arrived though its answer was lost is this process's, too.
        if folder.create(name, _document(token, 0)) or (_read(folder, name) or {}).get("token") == token:
            for old in names:
                with suppress(OSError):
                    folder.remove(old)
            return name


def _names(folder: Folder) -> list[str]:
    return [entry.name for entry in folder.list("lease-*.json") if _FILE.fullmatch(entry.name)]


def _live_holder(folder: Folder, name: str) -> str | None:
    """Who holds a lease, in words; None if nobody does any more."""
    first = _read(folder, name)
    if first is None:
        return None
    who = f"process {first.get('pid')} on {first.get('host')}"
    if first.get("machine") == _machine():
        return who if _runs(first) else None
    print(f"{folder}: {who} trained here; looking for up to {SILENCE_S:g} s whether it still does", flush=True)
    began = time.monotonic()
    while time.monotonic() - began < SILENCE_S:
        time.sleep(_POLL_S)
        if (now := _read(folder, name)) != first:
            return who if now is not None else None
    return None


def _read(folder: Folder, name: str) -> dict[str, Any] | None:
    """What a lease says; None where it is gone. A damaged one says nothing."""
    try:
        document = json.loads(folder.read(name))
    except FileNotFoundError:
        return None
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _document(token: str, beat: int) -> bytes:
    own = psutil.Process()
    document = {
        "host": socket.gethostname(),
        "machine": _machine(),
        "pid": own.pid,
        "started": own.create_time(),
        "token": token,
        "beat": beat,
    }
    return json_file(document)


def _machine() -> str:
    """What processes share that see each other's numbers: the machine since it was started, and its container."""
    try:
        started = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {started} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"{socket.gethostname()} {psutil.boot_time()}"


def _runs(holder: dict[str, Any]) -> bool:
    """Whether the process of a lease of this machine is there: of its number, and started when it was."""
    try:
        process = psutil.Process(int(holder["pid"]))
        return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - holder["started"]) < 1
    except (psutil.Error, KeyError, TypeError, ValueError):
        return False


def _beat(mine: _Lease, ended: threading.Event) -> None:
    """Writes the lease anew until the end, or until it is another's."""
    token = (_read(mine.folder, mine.name) or {}).get("token", "")
    beat = 0
    while not ended.wait(BEAT_S):
        beat += 1
        try:
            if _names(mine.folder)[-1:] != [mine.name]:
                mine.lost.set()
                print(f"{mine.folder}: another training has taken this folder over", file=sys.stderr, flush=True)
                return
            mine.folder.write(mine.name, _document(token, beat))
        except Exception:  # Whatever a store's library raises while it is away; the next beat tries again.
            continue
