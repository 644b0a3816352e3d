"""Configurations as YAML: what `--print-config` prints and `--config` takes."""

import dataclasses
import json
import types
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import tyro

from bar_model.configuration import from_json, plain
from bar_model.errors import BadInput, interpreting, one_line
from pipeline.command.whole_numbers import whole_number
from pipeline.storage import read_url

Configuration = TypeVar("Configuration")

MARK = "???"
"""Stands for a value that has to be given and is not, as OmegaConf and Hydra write it."""


def as_yaml(value: Mapping[str, Any], indent: str = "") -> str:
    """Nested mappings by indentation, everything else as JSON, which is YAML too; missing values are marked."""
    lines = []
    for name, inner in value.items():
        if isinstance(inner, dict) and inner:
            lines += [f"{indent}{name}:", as_yaml(inner, f"{indent}  ")]
        elif inner in (MARK, [MARK]):
            lines.append(f"{indent}{name}: {MARK}  # missing: has to be given")
        else:
            lines.append(f"{indent}{name}: {json.dumps(inner)}")
    return "\n".join(lines)


def with_marks(configuration: Configuration) -> Configuration:
    """The configuration with a mark in the place of each value that has to be given, so that it can be printed."""
    hints = get_type_hints(type(configuration))
    values = {
        field.name: getattr(configuration, field.name)
        for field in dataclasses.fields(configuration)  # pyright: ignore[reportArgumentType]
        if field.init
    }
    marks = {
        name: (MARK,) if get_origin(hints[name]) is tuple else MARK
        for name, value in values.items()
        if value is tyro.MISSING
    }
    return dataclasses.replace(configuration, **marks)  # pyright: ignore[reportType,reportArgumentType]


def overlaid(configuration: Configuration, url: str) -> Configuration:
    """The configuration with the values of a YAML file, which may name any part of its fields.

    Raises:
        BadInput: the file can't be read, names a field that the configuration has not, or a value of another type.
    """
    import yaml

    try:
        text = read_url(url)
    except FileNotFoundError as error:
        raise BadInput(f"--config {url} is not there: name a file such as --print-config prints") from error
    except BadInput as error:
        raise BadInput(f"--config {url} can't be read ({error})") from error
    except Exception as error:  # Every store's library has errors of its own.
        raise BadInput(f"--config {url} can't be read ({one_line(error)}): name a file") from error
    with interpreting(f"--config {url} is no YAML", "name a file such as --print-config prints"):
        values = yaml.safe_load(text)
    if not isinstance(values, Mapping):
        raise BadInput(f"--config {url} holds no fields: a file such as --print-config prints is expected")
    return _overlaid(configuration, values, f"--config {url}")


def _overlaid(configuration: Any, values: Mapping[str, Any], where: str) -> Any:
    kind = type(configuration)
    hints, marked = get_type_hints(kind), get_type_hints(kind, include_extras=True)
    known = [field.name for field in dataclasses.fields(kind) if field.init]
    changed = {}
    for name, value in values.items():
        place = f"{where}: {name}"
        if name not in known:
            raise BadInput(f"{place} is no field there: choose from {', '.join(known)}")
        present = getattr(configuration, name)
        if value == MARK:
            continue
        if _is_fixed(marked[name]):
            if value != plain(present):
                raise BadInput(f"{place} is {value!r}, but this preset is {present!r}: choose the preset that it is of")
        elif dataclasses.is_dataclass(present) and isinstance(value, Mapping):
            changed[name] = _overlaid(present, value, f"{where}: {name}")
        else:
            changed[name] = from_json(hints[name], _as_number(hints[name], value), place)
    try:
        return dataclasses.replace(configuration, **changed)
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from error


def _is_fixed(hint: Any) -> bool:
    """Whether a field is what makes the preset, and no option."""
    return get_origin(hint) is Annotated and tyro.conf.Suppress in get_args(hint)[1:]


def _as_number(hint: Any, value: Any) -> Any:
    """The number that is meant where one is expected: YAML takes 1e5 and 1e-05 for text, and 1.0e5 for a fraction."""
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if not isinstance(value, str | float) or str in options:
        return value
    for kind, read in ((int, whole_number), (float, float)):
        if kind in options:
            try:
                return read(str(value))
            except ValueError:
                continue
    return value
