"""The two exceptions that a person is told in one line: input to be corrected, and work that failed."""

from collections.abc import Callable


class BadInput(ValueError):
    """A configuration, file or argument that can't be used; the message is one line: what, where, what to do."""

    hide: Callable[[str], str] = staticmethod(str)
    """Takes secrets out of every message; `pipeline` knows where they stand in URLs, and sets it."""

    def __init__(self, message: object) -> None:
        super().__init__(type(self).hide(str(message)))

    field: "tuple[type, str] | None" = None
    """The class of a configuration and the name of its field, where it is one field's number that can't be used."""


class WorkFailed(RuntimeError):
    """Work that could not be finished, through no defect of this program; the message is one line."""


def one_line(message: object) -> str:
    """The text of an error of a library, which may have several lines, in one line."""
    return " ".join(str(message).split())
