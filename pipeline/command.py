"""Command lines: `python jobs/train.py PRESET --option value` of a job, `python -m MODULE ARGUMENTS` of a module.

What a person can mend is one line on stderr: `error: what, where, what to do`. Defects keep their traceback.
"""

import dataclasses
import difflib
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import tyro
from tyro import _errors as tyro_errors  # Public in purpose (see its docstring), not yet in name.

from bar_model.configuration import parameters, plain
from bar_model.errors import BadInput

Configuration = TypeVar("Configuration")

MISSED, BAD_INPUT = 1, 2  # Exit codes, as are those below: the shell's for SIGINT and SIGTERM.
INTERRUPTED, TERMINATED = 130, 143


def run(
    job: Callable[[Configuration], object],
    presets: Mapping[str, Callable[[], Configuration]],
    arguments: Sequence[str] | None = None,
) -> NoReturn:
    """Carries out `job` on a preset with the overrides of the command line, then exits: 1 where it answers False.

    Each preset is a function whose docstring's first line says what it is for; it is called only when it is chosen.
    """
    configuration = None
    try:
        configuration = _configuration(job, presets, list(sys.argv[1:] if arguments is None else arguments))
        sys.exit(_exit_code(job, configuration))
    except BrokenPipeError:  # `--help | head`: whoever reads has read enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        answer = bad_input(error)
        if answer is None:
            raise
        print(f"error: {_with_options(str(answer), configuration)}", file=sys.stderr)
        sys.exit(BAD_INPUT)


def run_module(
    job: Callable[[Configuration], object], kind: type[Configuration], arguments: Sequence[str] | None = None
) -> int:
    """Carries out the `job` of a module that `python -m` runs on what the command line says of its one configuration.

    Gives the exit code: 1 where the job answers False, 2 for bad input.
    """
    module = sys.modules[job.__module__]
    name = module.__spec__.name if module.__spec__ is not None else module.__name__
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        missed = job(parse(kind, given, program=f"python -m {name}", description=str(module.__doc__))) is False
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    return MISSED if missed else 0


def bad_input(error: Exception) -> BadInput | None:
    """The BadInput that an error is, or that Ray brings as text from a worker; None for any other error."""
    if not any(kind.__module__.startswith("ray.") for kind in type(error).__mro__):
        return error if isinstance(error, BadInput) else None
    # Ray Data and dead actors keep of an exception only its traceback's text.
    text = str(error)
    name = re.escape(f"{BadInput.__module__}.{BadInput.__qualname__}")
    found = re.search(rf"^{name}: (.+)$", text, re.MULTILINE)
    if found is None or "During handling of the above exception" in text:
        return None
    return BadInput(found[1])


_BRACES = str.maketrans("", "", "{}")


def parse(
    kind: type[Configuration],
    arguments: list[str],
    *,
    program: str,
    description: str,
    default: Configuration | None = None,
) -> Configuration:
    """The configuration, by default that one, with the options' values; BadInput for those it has not or can't take."""
    names = [each.name for each in dataclasses.fields(kind)] if default is None else list(parameters(default))  # pyright: ignore[reportArgumentType]

    def refuse(event: tyro_errors.ParseErrorEvent) -> None:
        match event:
            case tyro_errors.UnrecognizedArgs(tokens=[token, *_]):
                options = [f"--{name.replace('_', '-')}" for name in names]
                meant = _nearest(token.partition("=")[0], options)
                raise BadInput(f"unknown option {token!r}{meant}: `{program} --help` lists them")
            case tyro_errors.InvalidChoice(argument=argument, value=value, choices=choices):
                raise BadInput(f"{_flag(argument)} can't be {value!r}: choose from {', '.join(choices)}")
            case tyro_errors.BadValue(argument=argument):
                raise BadInput(f"{_flag(argument)} needs a value: `{program} --help` says which")
            case tyro_errors.MissingArgs(missing_arguments=missing):
                raise BadInput(f"missing: {', '.join(_flag(one.arg) for one in missing)}")
            case tyro_errors.InstantiationFailure(message=message, argument=None):
                raise BadInput(" ".join(message.split()))
            case tyro_errors.InstantiationFailure(message=message, argument=argument):
                reason = " ".join(message.split())
                # Of several types, tyro tells why it was none of them, one by one.
                if found := re.match(r"no type matching (.+) could be instantiated from \['(.*?)'\]", reason):
                    reason = f"{found[2]!r} is none of {found[1].replace('|', ', ').translate(_BRACES)}"
                raise BadInput(f"{_flag(argument)}: {reason}")

    with tyro_errors.on_parse_error(refuse):
        return tyro.cli(
            kind,
            prog=program,
            description=description,
            args=arguments,
            default=tyro.MISSING_NONPROP if default is None else default,
            config=(tyro.conf.AvoidSubcommands,),  # A part that may be None is no command of its own.
        )


def _with_options(message: str, configuration: object) -> str:
    """Fields that it names, as a part of the configuration knows them (`networks.vgg`), by their options here."""
    fields = [] if configuration is None else list(parameters(configuration))
    parts = {part for name in fields for part in name.split(".")[:-1]}

    def option(found: re.Match[str]) -> str:
        words = found[0].split(".")
        for start in range(len(words)) if words[0] in parts else ():
            ending = words[start:]
            whole = [name for name in fields if name.split(".")[-len(ending) :] == ending]
            if len(whole) == 1:
                return f"--{whole[0].replace('_', '-')}"
        return found[0]

    return re.sub(r"(?<![-./\w])[a-z]\w*(?:\.\w+)+\b", option, message)


def _exit_code(job: Callable[[Configuration], object], configuration: Configuration) -> int:
    """Carries out the job; SIGTERM leaves its blocks in order, so that a tracked run is closed."""
    terminated = False

    def terminate(number: int, frame: object) -> NoReturn:
        nonlocal terminated
        terminated = True
        raise SystemExit(TERMINATED)

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        missed = job(configuration) is False
    except (KeyboardInterrupt, SystemExit):
        # Ray makes its own exit code of ours, and Ray Train a SystemExit of Ctrl-C.
        return TERMINATED if terminated else INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, before)
    return MISSED if missed else 0


def _configuration(
    job: Callable[[Configuration], object], presets: Mapping[str, Callable[[], Configuration]], arguments: list[str]
) -> Configuration:
    program = f"python {sys.argv[0]}"
    summary = _first_line(job.__doc__ or sys.modules[job.__module__].__doc__)
    if arguments in (["-h"], ["--help"]):
        print(_overview(program, summary, presets))
        raise SystemExit(0)
    if not arguments or arguments[0].startswith("-"):
        raise BadInput(f"the first argument is a preset: {', '.join(presets)} (--help says what they are)")
    name, *options = arguments
    if name not in presets:
        raise BadInput(f"unknown preset {name!r}{_nearest(name, presets)}: there are {', '.join(presets)}")
    preset = presets[name]()
    configuration = parse(
        type(preset),
        [option for option in options if option != "--print-config"],
        program=f"{program} {name}",
        description=f"{summary}\n\nPreset {name}: {_first_line(presets[name].__doc__)} "
        "With --print-config, prints the resulting configuration and ends.",
        default=preset,
    )
    if "--print-config" in options:
        print(_as_yaml(plain(configuration)))
        raise SystemExit(0)
    return configuration


def _flag(argument: Any) -> str:
    return argument.lowered.name_or_flags[-1]


def _nearest(name: str, names: Iterable[str]) -> str:
    """` (did you mean …?)` for the closest name, also if its dotted prefix was left out; empty if none is close."""
    short = {f"--{name.rpartition('.')[2]}" if "." in name else name: name for name in names}
    close = difflib.get_close_matches(name, [*short, *short.values()], n=1)
    return f" (did you mean {short.get(close[0], close[0])}?)" if close else ""


def _overview(program: str, summary: str, presets: Mapping[str, Callable[[], Any]]) -> str:
    width = max(map(len, presets))
    lines = [f"  {name:{width}}  {_first_line(preset.__doc__)}" for name, preset in presets.items()]
    return "\n".join(
        [
            f"usage: {program} PRESET [--option value ...]\n\n{summary}\n\npresets:",
            *lines,
            "\n  PRESET --help          lists the options and their values in this preset",
            "  PRESET --print-config  prints the configuration, with options if given, and ends",
        ]
    )


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]


def _as_yaml(value: Any, indent: str = "") -> str:
    """Nested mappings by indentation, everything else as JSON, which is YAML too."""
    lines = []
    for name, inner in value.items():
        if isinstance(inner, dict) and inner:
            lines += [f"{indent}{name}:", _as_yaml(inner, f"{indent}  ")]
        else:
            lines.append(f"{indent}{name}: {json.dumps(inner)}")
    return "\n".join(lines)
