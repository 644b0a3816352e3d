"""The two exceptions that a person is told in one line: input to be corrected, and work that failed."""


class BadInput(ValueError):
    """A configuration, file or argument that can't be used; the message is one line: what, where, what to do."""

    field: "tuple[type, str] | None" = None
    """The class of a configuration and the name of its field, where it is one field's number that can't be used."""


class WorkFailed(RuntimeError):
    """Work that could not be finished, through no defect of this program; the message is one line."""


def one_line(message: object) -> str:
    """The text of an error of a library, which may have several lines, in one line."""
    return " ".join(str(message).split())
