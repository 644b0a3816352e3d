"""The two exceptions that a person is told in one line: input to be corrected, and work that failed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

MOST_CHARACTERS = 1_200
"""Of a message: a longer one, which quotes something long, loses its middle."""


class BadInput(ValueError):
    """A configuration, file or argument that can't be used; the message is one line: what, where, what to do."""

    hide: Callable[[str], str] = staticmethod(str)
    """Takes secrets out of every message; `pipeline` knows where they stand in URLs, and sets it."""

    def __init__(self, message: object) -> None:
        super().__init__(type(self).hide(str(message)))

    field: "tuple[type, str] | None" = None
    """The class of a configuration and the name of its field, where it is one field's number that can't be used."""

    def __str__(self) -> str:
        # Messages quote what comes from outside, which may hold line breaks, a terminal's commands, or megabytes.
        text = super().__str__()
        if not text.isprintable():
            text = "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
        if len(text) > MOST_CHARACTERS:
            text = f"{text[: MOST_CHARACTERS * 2 // 3]} … {text[-MOST_CHARACTERS // 4 :]}"
        return text


class WorkFailed(RuntimeError):
    """Work that could not be finished, through no defect of this program; the message is one line."""


def one_line(message: object) -> str:
    """The text of an error of a library, which may have several lines, in one line."""
    return " ".join(str(message).split())


@contextmanager
def interpreting(problem: str, remedy: str) -> Iterator[None]:
    """Refuses what a block can't make sense of: whatever it raises becomes one line, `problem (why): remedy`.

    It is for blocks that interpret what comes from outside and is in memory already, where an error is no defect and
    not the storage's: parsers raise nearly anything if their input is malformed, or nested too deeply.

    Raises:
        BadInput: in place of every error but a lack of memory.
    """
    try:
        yield
    except (BadInput, MemoryError):
        raise
    except Exception as error:
        why = f"{error} is missing" if isinstance(error, KeyError) else one_line(error) or type(error).__name__
        raise BadInput(f"{problem} ({why}): {remedy}") from error
