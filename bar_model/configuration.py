"""Configurations as JSON: what `dataclasses.asdict` wrote, read back and checked."""

import dataclasses
import types
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from bar_model.errors import BadInput

_Configuration = TypeVar("_Configuration")


def from_dict(kind: type[_Configuration], data: Mapping[str, Any], where: str = "configuration") -> _Configuration:
    """Build the dataclass `kind` from what `dataclasses.asdict` made of one.

    Raises:
        BadInput: a field is missing, unknown or of the wrong type; the message says which, below `where`.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}  # pyright: ignore[reportArgumentType]
    hints = get_type_hints(kind)
    for name in data.keys() - fields.keys():
        raise BadInput(f"{where}.{name}: no such field of {kind.__name__}; it was written by a newer version")
    for name in fields.keys() - data.keys():
        raise BadInput(f"{where}.{name}: missing")
    return kind(**{name: _value(hints[name], data[name], f"{where}.{name}") for name in fields})


def _value(hint: Any, data: Any, where: str) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        options = [option for option in get_args(hint) if option is not type(None)]
        return None if data is None else _value(options[0], data, where)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(data, Mapping):
            raise BadInput(f"{where}: {data!r} should be an object")
        return from_dict(hint, data, where)
    if get_origin(hint) is tuple:
        return tuple(_value(get_args(hint)[0], each, where) for each in data)
    if get_origin(hint) is Literal:
        if data not in get_args(hint):
            raise BadInput(f"{where}: {data!r} should be one of {', '.join(map(repr, get_args(hint)))}")
        return data
    # JSON writes 5.0 as it was, but a person may write 5.
    if hint is float and isinstance(data, int):
        return float(data)
    if type(data) is not hint:
        raise BadInput(f"{where}: {data!r} should be of type {getattr(hint, '__name__', hint)}")
    return data
