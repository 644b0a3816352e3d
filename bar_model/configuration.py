"""Configurations as JSON and as text.

`plain` makes JSON of any configuration, `from_dict` reads it back and checks it, `digest` distinguishes configurations,
and `parameters` lists their values by dotted names.
"""

import dataclasses
import hashlib
import json
import types
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from bar_model.errors import BadInput

_Configuration = TypeVar("_Configuration")


def from_dict(kind: type[_Configuration], data: Mapping[str, Any], where: str = "configuration") -> _Configuration:
    """Build the dataclass `kind` from what `dataclasses.asdict` made of one.

    Raises:
        BadInput: a field is missing, unknown or of the wrong type; the message says which, below `where`.
    """
    if not isinstance(data, Mapping):
        raise BadInput(f"{where}: {data!r} should be an object")
    fields = {field.name: field for field in dataclasses.fields(kind)}  # pyright: ignore[reportArgumentType]
    hints = get_type_hints(kind)
    for name in data.keys() - fields.keys():
        raise BadInput(f"{where}.{name}: no such field of {kind.__name__}; it was written by a newer version")
    for name in fields.keys() - data.keys():
        raise BadInput(f"{where}.{name}: missing")
    values = {name: from_json(hints[name], data[name], f"{where}.{name}") for name in fields}
    try:
        return kind(**values)
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from error


def plain(configuration: object) -> Any:
    """Configuration as JSON: dataclasses and mappings become objects, sequences lists, other non-JSON values text."""
    if dataclasses.is_dataclass(configuration) and not isinstance(configuration, type):
        return {field.name: plain(getattr(configuration, field.name)) for field in dataclasses.fields(configuration)}
    if isinstance(configuration, Mapping):
        return {str(key): plain(value) for key, value in configuration.items()}
    if isinstance(configuration, list | tuple):
        return [plain(value) for value in configuration]
    if configuration is None or isinstance(configuration, bool | int | float | str):
        return configuration
    return str(configuration)


def json_file(document: Any, *, indent: int = 1, sort_keys: bool = False, escaped: bool = True) -> bytes:
    """The content of a file of JSON, as every reader of JSON understands it; all of ours are written through here.

    Raises:
        ValueError: the document holds NaN or an infinity, for which JSON has no word.
    """
    text = json.dumps(document, indent=indent, sort_keys=sort_keys, ensure_ascii=escaped, allow_nan=False)
    return f"{text}\n".encode()


def digest(configuration: object) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of a configuration's JSON, with sorted keys."""
    return hashlib.sha256(json.dumps(plain(configuration), sort_keys=True).encode()).hexdigest()[:16]


def parameters(configuration: object) -> dict[str, str]:
    """Every value of a configuration as text, by its dotted name (`model.width`); a list is one value."""
    return dict(_leaves(plain(configuration), ()))


def from_json(hint: Any, data: Any, where: str) -> Any:
    """A value of the annotated type `hint` from what JSON made of one.

    Raises:
        BadInput: it is of another type; the message begins with `where`.
    """
    if get_origin(hint) in (Union, types.UnionType):
        return _of_several(get_args(hint), data, where)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(data, Mapping):
            raise BadInput(f"{where}: {data!r} should be an object")
        return from_dict(hint, data, where)
    if get_origin(hint) is tuple:
        if not isinstance(data, list | tuple):
            raise BadInput(f"{where}: {data!r} should be a list")
        kinds = get_args(hint)
        if kinds[-1] is Ellipsis:
            kinds = kinds[:1] * len(data)
        if len(kinds) != len(data):
            raise BadInput(f"{where}: {list(data)!r} should be a list of {len(kinds)}")
        return tuple(from_json(kind, each, where) for kind, each in zip(kinds, data, strict=True))
    if get_origin(hint) is Literal:
        if not any(data == each and type(data) is type(each) for each in get_args(hint)):
            raise BadInput(f"{where}: {data!r} should be one of {', '.join(map(repr, get_args(hint)))}")
        return data
    # JSON keeps 5.0, but a person may write 5.
    if hint is float and type(data) is int:
        try:
            return float(data)
        except OverflowError as error:
            raise BadInput(f"{where}: a number of {len(str(data))} digits is too large") from error
    if type(data) is not hint:
        raise BadInput(f"{where}: {data!r} should be of type {getattr(hint, '__name__', hint)}")
    return data


def _leaves(value: Any, names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, (*names, name))
    else:
        yield ".".join(names) or "value", value if isinstance(value, str) else json.dumps(value)


def _of_several(options: tuple[Any, ...], data: Any, where: str) -> Any:
    """The value as the first of several types that takes it."""
    if data is None and type(None) in options:
        return None
    refusals = []
    for option in options:
        if option is type(None):
            continue
        try:
            return from_json(option, data, where)
        except BadInput as error:
            refusals.append(error)
    if len(refusals) == 1:
        raise refusals[0]
    named = ", ".join(str(getattr(option, "__name__", option)) for option in options)
    raise BadInput(f"{where}: {data!r} is none of {named}")
