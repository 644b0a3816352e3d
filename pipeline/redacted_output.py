"""What leaves a process without its secrets: its printed and logged lines, and the errors that Ray carries on.

A driver calls `hide_secrets` first of all. Work that Ray places on other processes is decorated with `hiding_secrets`.
"""

import functools
import logging
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

from bar_model.errors import BadInput
from pipeline.redaction import redact_text

Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")


def hide_secrets() -> None:
    """From now on this process prints and logs no secret of a URL, whichever library does it; tracebacks included."""
    sys.stdout, sys.stderr = _hiding(sys.stdout), _hiding(sys.stderr)
    if not isinstance(logging.getLogRecordFactory(), _RecordFactory):
        logging.setLogRecordFactory(_RecordFactory(logging.getLogRecordFactory()))


def hiding_secrets(function: Callable[Parameters, Returned]) -> Callable[Parameters, Returned]:
    """The function, for a worker: it hides secrets, and an error that holds some is raised as its redacted text."""

    @functools.wraps(function)
    def hiding(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Returned:
        hide_secrets()
        try:
            return function(*args, **kwargs)
        except BadInput:  # Which holds none.
            raise
        except Exception as error:
            text = "".join(traceback.format_exception(error))
            if redact_text(text) == text:
                raise
            shown = redact_text(f"{type(error).__name__}: {error}")
        raise RuntimeError(shown)  # Outside of the handler, so that it does not carry the other with it.

    return hiding


class RedactedStream:
    """A text stream that redacts what is written to it, and else is the stream that it wraps."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes the text without its secrets."""
        self._stream.write(redact_text(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Writes the lines without their secrets."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _hiding(stream: Any) -> Any:
    return stream if stream is None or isinstance(stream, RedactedStream) else RedactedStream(stream)


class _RecordFactory:
    """Makes records of the log whose message and traceback are redacted already."""

    def __init__(self, factory: Callable[..., logging.LogRecord]) -> None:
        self._factory = factory

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = self._factory(*args, **kwargs)
        try:
            message = record.getMessage()
        except Exception:  # Its handler says what is wrong with the message.
            return record
        if (shown := redact_text(message)) != message:
            record.msg, record.args = shown, None
        if record.exc_info and record.exc_info[0] is not None:
            text = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
            if (shown := redact_text(text)) != text:
                record.exc_text, record.exc_info = shown, None
        return record
