"""Records that a server will never take as things are: set aside beside the spools, for whoever removes the cause.

`SPOOLS/undelivered/KEY` then holds what was the spool `SPOOLS/KEY`, and the text `KEY.txt` beside it says why, and how
the records are put back. No later job looks into that folder.
"""

from pathlib import Path

from pipeline.redaction import redact_text
from pipeline.tracking.spool import LOCK_FILE, make_private, write_private

FOLDER = "undelivered"
_TEXT = """\
The records of run {key} can't be delivered to {server}:

    {reason}

They lie in the folder {key} beside this text. Once the cause is removed, move that folder back among the spools,

    mv '{aside}' '{spool}'

and the next job that uses this spool sends them within a minute. To give them up, remove the folder and this text.
"""


def explain(spool: Path, server: str, reason: str) -> bool:
    """Writes the text beside the place where the spool will be set aside. False if it is there already."""
    text = spool.parent / FOLDER / f"{spool.name}.txt"
    if text.exists():
        return False
    make_private(text.parent)
    shown = _TEXT.format(key=spool.name, server=server, reason=reason, aside=set_aside_folder(spool), spool=spool)
    write_private(text, redact_text(shown).encode())
    return True


def set_aside(spool: Path) -> None:
    """Moves the files of a spool that no process writes to any more.

    Raises:
        OSError: a file can't be moved.
    """
    aside = set_aside_folder(spool)
    make_private(aside)
    for file in sorted(spool.iterdir()):
        if file.name != LOCK_FILE:
            file.rename(aside / file.name)


def set_aside_folder(spool: Path) -> Path:
    """Where the files of a spool are set aside."""
    return spool.parent / FOLDER / spool.name
