"""The one exception for input that a person has to correct."""


class BadInput(ValueError):
    """A configuration, file or argument that can't be used; the message is one line: what, where, what to do."""
