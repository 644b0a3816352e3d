"""Words of a command line -> a configuration: a preset, a file over it (`--config`), and options over both."""

import dataclasses
import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Generic, TypeVar, get_args, get_type_hints

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from bar_model.configuration import parameters, plain
from bar_model.errors import BadInput
from pipeline.command.config_file import as_yaml, overlaid, with_marks
from pipeline.command.tyro_errors import refusing
from pipeline.command.whole_numbers import whole_number

Configuration = TypeVar("Configuration")


@dataclasses.dataclass(frozen=True)
class Parsed(Generic[Configuration]):
    """A configuration, and how messages name its fields."""

    configuration: Configuration

    def shown(self, field: str) -> str:
        """A field by its dotted name as the command line has it: `--networks.vgg`, or bare for a leading argument."""
        hints = get_type_hints(type(self.configuration), include_extras=True)
        return field if tyro.conf.Positional in get_args(hints.get(field)) else _option(field)

    def with_options(self, message: str) -> str:
        """The message with fields that it names, such as `networks.vgg`, written as options, `--networks.vgg`."""
        fields = list(parameters(self.configuration))
        parts = {part for name in fields for part in name.split(".")[:-1]}

        def option(found: re.Match[str]) -> str:
            words = found[0].split(".")
            for start in range(len(words)) if words[0] in parts else ():
                ending = words[start:]
                whole = [name for name in fields if name.split(".")[-len(ending) :] == ending]
                if len(whole) == 1:
                    return _option(whole[0])
            return found[0]

        return re.sub(r"(?<![-./\w])[a-z]\w*(?:\.\w+)+\b", option, message)


def parse_preset(
    presets: Mapping[str, Callable[[], Configuration]], given: list[str], *, program: str, about: str
) -> Parsed[Configuration]:
    """The chosen preset with what the command line says beside it.

    Raises:
        BadInput: no such preset or option, or a value that an option can't take.
        SystemExit: after `--help` or `--print-config`.
    """
    if given in (["-h"], ["--help"]):
        print(_overview(program, about, presets))
        raise SystemExit(0)
    if not given or given[0].startswith("-"):
        raise BadInput(f"the first argument is a preset: {', '.join(presets)} (--help says what they are)")
    name, *options = given
    if name not in presets:
        raise BadInput(f"unknown preset {name!r}{_nearest(name, presets)}: there are {', '.join(presets)}")
    about = f"{about}\n\nPreset {name}: {first_line(presets[name].__doc__)}"
    return _parse(presets[name], options, program=f"{program} {name}", about=about)


def parse_config(kind: type[Configuration], given: list[str], *, program: str, about: str) -> Parsed[Configuration]:
    """A configuration that has no presets.

    Raises:
        BadInput: no such option, or a value that an option can't take.
        SystemExit: after `--help` or `--print-config`.
    """
    required = {
        field.name: tyro.MISSING
        for field in dataclasses.fields(kind)  # pyright: ignore[reportArgumentType]
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    return _parse(partial(kind, **required), given, program=program, about=about)


def first_line(text: str | None) -> str:
    """The first line of a docstring; empty where there is none."""
    return (text or "").strip().partition("\n")[0]


def _parse(preset: Callable[[], Configuration], given: list[str], *, program: str, about: str) -> Parsed[Configuration]:
    options, file = _without_config(given)
    default = preset() if file is None else overlaid(preset(), file)
    is_printed = "--print-config" in options
    configuration = tyro_parse(
        type(default),
        [option for option in options if option != "--print-config"],
        program=program,
        about=f"{about} With --print-config, prints the resulting configuration and ends; --config FILE takes such a "
        "file, over which the options count.",
        default=with_marks(default) if is_printed else default,
    )
    if is_printed:
        print(as_yaml(plain(configuration)))
        raise SystemExit(0)
    return Parsed(configuration)


def tyro_parse(
    kind: type[Configuration], given: list[str], *, program: str, about: str, default: Configuration
) -> Configuration:
    """The configuration, by default `default`, with the options' values.

    Raises:
        BadInput: an option that it has not, or a value that the option can't take.
    """
    names = [_option(name) for name in parameters(default)]
    with refusing(program, lambda option: _nearest(option, names)), _named_as_options(default):
        return tyro.cli(
            kind,
            prog=program,
            description=about,
            args=given,
            default=default,
            registry=_WHOLE_NUMBERS,
            config=(tyro.conf.AvoidSubcommands,),  # A part that may be None is no command of its own.
        )


@contextmanager
def _named_as_options(configuration: Any) -> Iterator[None]:
    """While the block lasts, a number that is refused is named as the command line has it: `--optimization.betas`."""
    try:
        yield
    except BadInput as error:
        if error.field is None:
            raise
        kind, name = error.field
        places = [place for place, part in _parts(configuration) if type(part) is kind]
        if not places or not str(error).startswith(f"{name} "):
            raise
        raise BadInput(_option(f"{places[0]}{name}") + str(error).removeprefix(name)) from error


def _parts(configuration: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """A configuration and all of its parts, each with the beginning of its fields' dotted names."""
    yield place, configuration
    for field in dataclasses.fields(configuration):
        value = getattr(configuration, field.name)
        if dataclasses.is_dataclass(value):
            yield from _parts(value, f"{place}{field.name}.")


_WHOLE_NUMBERS = ConstructorRegistry()


@_WHOLE_NUMBERS.primitive_rule
def _whole_numbers(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[int] | None:
    """Options that are whole numbers also take 1e5, as people write steps and images."""
    if info.type is not int:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda words: whole_number(words[0]),
        is_instance=lambda value: type(value) is int,
        str_from_instance=lambda value: [str(value)],
    )


def _without_config(given: list[str]) -> tuple[list[str], str | None]:
    """The options without `--config FILE`, and the file."""
    options, file = [], None
    words = iter(given)
    for word in words:
        name, equals, value = word.partition("=")
        if name != "--config":
            options.append(word)
            continue
        if file is not None:
            raise BadInput("--config is given twice: name one file, which may be changed by options")
        file = value if equals else next(words, "")
        if not file or file.startswith("--"):
            raise BadInput("--config needs a file, such as --print-config prints")
    return options, file


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _nearest(name: str, names: Iterable[str]) -> str:
    """` (did you mean …?)` for the closest name, also if its dotted prefix was left out; empty if none is close."""
    short = {f"--{name.rpartition('.')[2]}" if "." in name else name: name for name in names}
    close = difflib.get_close_matches(name, [*short, *short.values()], n=1)
    return f" (did you mean {short.get(close[0], close[0])}?)" if close else ""


def _overview(program: str, about: str, presets: Mapping[str, Callable[[], Any]]) -> str:
    width = max(map(len, presets))
    lines = [f"  {name:{width}}  {first_line(preset.__doc__)}" for name, preset in presets.items()]
    return "\n".join(
        [
            f"usage: {program} PRESET [--option value ...]\n\n{about}\n\npresets:",
            *lines,
            "\n  PRESET --help          lists the options and their values in this preset",
            "  PRESET --print-config  prints the configuration, with options if given, and ends",
            "  PRESET --config FILE   takes the values of such a file; options count over them",
        ]
    )
