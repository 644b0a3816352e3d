"""What jobs print for people: tables, and texts as they are."""

import sys

import rich
from rich.console import RenderableType
from rich.text import Text


def show(*parts: RenderableType) -> None:
    """Prints each part on a line of its own.

    A text is printed as it is: the brackets and colons of a path are neither markup nor emoji, and a long path stays
    in one line.
    """
    accept_any_text()
    console = rich.get_console()
    for part in parts:
        if isinstance(part, str):
            console.print(Text(part), soft_wrap=True)
        else:
            console.print(part)


def accept_any_text() -> None:
    """From now on what a terminal's encoding lacks is printed as an escape, as a file's name that is no UTF-8 is."""
    for stream in (sys.stdout, sys.stderr):
        if (reconfigure := getattr(stream, "reconfigure", None)) is not None:
            reconfigure(errors="backslashreplace")
