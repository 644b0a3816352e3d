"""One damaged file through one door, and what came of it."""

import os
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Literal, NamedTuple

from bar_model.errors import BadInput
from pipeline.images.codec import BadImage
from tests.harness.repository import REPOSITORY
from tests.system.fuzz.door import Door, Loss

Kind = Literal["value", "refused", "traceback", "loss", "memory", "message", "hang", "crash"]
MEMORY_BYTES = 1 << 30
"""How much a process may grow while it reads a file of some kilobytes."""
MESSAGE_CHARACTERS = 1_500
SOUND_SHARE = 0.02
"""Share of the files that stay as they are: they must be read."""


class Outcome(NamedTuple):
    """What came of a file. All kinds but `value` and `refused` are findings; `reason` is without numbers and names."""

    kind: Kind
    reason: str = ""
    detail: str = ""

    @property
    def is_finding(self) -> bool:
        """Whether it is a defect."""
        return self.kind not in ("value", "refused")


class DamagedFile(NamedTuple):
    """A file and what it was made of."""

    data: bytes
    original: bytes


def damaged_file(door: Door, seed: str, name: str, number: int) -> DamagedFile:
    """The file of a number: a function of seed, door and number alone."""
    chance = Random(f"{seed}/{name}/{number}")
    original = chance.choice(door.originals)
    is_sound = chance.random() < SOUND_SHARE
    return DamagedFile(original if is_sound else door.damage(chance, original, door.originals), original)


def attempt(door: Door, file: DamagedFile) -> Outcome:
    """Reads a file, and judges the answer."""
    _forget_peak()
    before = _memory("VmRSS")
    outcome = _entered(lambda: door.enter(*file))
    grown = _memory("VmHWM") - before
    if grown > MEMORY_BYTES and not outcome.is_finding:
        return Outcome("memory", f"over {MEMORY_BYTES >> 20} MiB more memory", f"{grown >> 20} MiB; {outcome.detail}")
    if outcome.kind == "refused" and file.data == file.original:
        return Outcome("loss", f"a sound file is refused: {outcome.reason}", outcome.detail)
    return outcome


def _entered(enter: Callable[[], int]) -> Outcome:
    try:
        return Outcome("value", detail=f"{enter()} values")
    except (BadInput, BadImage) as error:
        message = str(error)
        if not message.isprintable() or len(message) > MESSAGE_CHARACTERS:
            return Outcome(
                "message", f"{(len(message) > MESSAGE_CHARACTERS and 'long') or 'odd'}: {_origin(error)}", message
            )
        return Outcome("refused", _plain(message), message)
    except Loss as loss:
        return Outcome("loss", _plain(str(loss)), str(loss))
    except MemoryError as error:
        return Outcome("memory", f"{type(error).__name__} {_origin(error)}", _shown(error))
    except Exception as error:
        return Outcome("traceback", f"{type(error).__name__} {_origin(error)}", _shown(error))


def _origin(error: BaseException) -> str:
    """The last line of this project that an error passed."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if f.filename.startswith((f"{REPOSITORY}/pipeline", f"{REPOSITORY}/bar_model"))]
    last = own[-1] if own else frames[-1]
    return f"{Path(last.filename).relative_to(REPOSITORY) if own else last.filename}:{last.name}"


def _shown(error: BaseException) -> str:
    text = "".join(traceback.format_exception(error))
    return text if len(text) < 4000 else f"{text[:1500]}\n…\n{text[-1500:]}"


def _plain(message: str) -> str:
    """A message without what differs from file to file, so that equal ones are counted together."""
    text = re.sub(r"/\S*/\S+|'[^']*'|\"[^\"]*\"|\d[\d,.]*|0x[0-9a-f]+", "…", message)
    return re.sub(r"(… ?)+", "… ", text)[:90]


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _memory(name: str) -> int:
    """A line of this process's status in bytes."""
    with open(f"/proc/{os.getpid()}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(name))
