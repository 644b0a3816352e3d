"""The one place that uses tyro's private interface: why it refuses a command line, in our words.

tyro's public way prints a box of several lines and exits; `tyro._errors` hands over what is wrong, and is named private
because its authors may still change it. `tests/pipeline/test_private_interfaces.py` fails where a new tyro has.
"""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tyro import _errors as events

from bar_model.errors import BadInput

_BRACES = str.maketrans("", "", "{}")


@contextmanager
def refusing(program: str, nearest: Callable[[str], str]) -> Iterator[None]:
    """While the block lasts, tyro's refusals are raised as BadInput.

    `program` is the command that `--help` is added to; `nearest` gives a remark on the known option nearest to
    an unknown one.
    """

    def refuse(event: events.ParseErrorEvent) -> None:
        match event:
            case events.UnrecognizedArgs(tokens=[token, *_]):
                meant = nearest(token.partition("=")[0])
                raise BadInput(f"unknown option {token!r}{meant}: `{program} --help` lists them")
            case events.InvalidChoice(argument=argument, value=value, choices=choices):
                raise BadInput(f"{_flag(argument)} can't be {value!r}: choose from {', '.join(choices)}")
            case events.BadValue(argument=argument):
                raise BadInput(f"{_flag(argument)} needs a value: `{program} --help` says which")
            case events.MissingArgs(missing_arguments=missing):
                raise BadInput(f"missing: {', '.join(_flag(one.arg) for one in missing)}")
            case events.InstantiationFailure() if (refusal := _of_a_field()) is not None:
                raise refusal
            case events.InstantiationFailure(message=message, argument=None):
                raise BadInput(" ".join(message.split()))
            case events.InstantiationFailure(message=message, argument=argument):
                raise BadInput(f"{_flag(argument)}: {_reason(message)}")

    with events.on_parse_error(refuse):
        yield


def _of_a_field() -> BadInput | None:
    """The refusal of one field's number, for which tyro is about to give up; None where it is none."""
    error = sys.exc_info()[1]
    while error is not None and not (isinstance(error, BadInput) and error.field is not None):
        error = error.__context__
    return error


def _flag(argument: Any) -> str:
    """How the command line has an argument: `--networks.vgg`, or as `--help` calls one without a flag."""
    name = argument.lowered.name_or_flags[-1]
    return name if name.startswith("-") else argument.lowered.metavar or name


def _reason(message: str) -> str:
    """tyro's reason on one line; of several types it gives why the value is of none, one by one, which is cut short."""
    reason = " ".join(message.split())
    found = re.match(r"no type matching (.+) could be instantiated from \['(.*?)'\]", reason)
    if found is None:
        return reason
    return f"{found[2]!r} is none of {found[1].replace('|', ', ').translate(_BRACES)}"
