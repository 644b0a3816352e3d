"""Which names are those of images, in a folder as in a tar, and why others are not."""

from pipeline.filesystem import HIDDEN

EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".pbm", ".pgm", ".ppm", ".pnm", ".pfm", ".bmp"}
) | {".tif", ".tiff", ".webp", ".gif", ".avif", ".avifs"}
"""Endings of the formats that `codec.FORMATS` names, whatever their case."""
JUNK = frozenset({"__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information", "__pycache__"})
"""Folders that systems and tools leave beside people's files: what lies in them is never a class or an image."""
IN_JUNK = "in folders that systems leave"
NO_ENDING, ODD_ENDING = "without an ending", "with an ending that no image has"
LONGEST_ENDING = 8


def ending_of(name: str) -> str:
    """The ending of a path's last part with its dot, in lower case; empty where it has none."""
    _, dot, ending = name.rpartition("/")[2].rpartition(".")
    return f".{ending.lower()}" if dot else ""


def why_no_image(name: str) -> str | None:
    """Why a path within a source is not that of an image; None where it is.

    The text stands behind a number: "ending in .txt", "hidden".
    """
    *folders, base = name.split("/")
    if JUNK.intersection(folders):
        return IN_JUNK
    if any(part.startswith(".") and part not in (".", "..") for part in (*folders, base)):
        return HIDDEN
    ending = ending_of(base)
    if ending in EXTENSIONS:
        return None
    if not ending:
        return NO_ENDING
    is_plain = ending[1:].isalnum() and len(ending) <= LONGEST_ENDING
    return f"ending in {ending}" if is_plain else ODD_ENDING
