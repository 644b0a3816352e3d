"""Runs a job from its command line. An error that the user can fix is one line on stderr: `error: what, where, remedy`.

Defects keep their traceback. Exit codes: 0; 1 where the job gives False or its work failed; 2 for bad input; 130 and
143 after Ctrl-C and SIGTERM, as shells have them.
"""

import os
import re
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn, TypeVar

from bar_model.errors import BadInput
from pipeline.command.options import Parsed, first_line, parse_config, parse_preset
from pipeline.command.ray_failures import is_of_ray, work_failed
from pipeline.filesystem import StoreError, StoreForbidden
from pipeline.paths import check_paths
from pipeline.redacted_output import hide_secrets
from pipeline.terminal import accept_any_text

Configuration = TypeVar("Configuration")
Job = Callable[[Configuration], object]

_ONE_LINE = (BadInput, StoreError, StoreForbidden)
MISSED, BAD_INPUT, INTERRUPTED, TERMINATED = 1, 2, 130, 143


def run(
    job: Job[Configuration],
    presets: Mapping[str, Callable[[], Configuration]],
    arguments: Sequence[str] | None = None,
) -> NoReturn:
    """Carries out `job` on a preset with the overrides of the command line, then exits.

    Each preset is a function whose docstring's first line says what it is for; only the chosen one is called.
    """
    _run(job, lambda program, about, given: parse_preset(presets, given, program=program, about=about), arguments)


def run_plain(job: Job[Configuration], kind: type[Configuration], arguments: Sequence[str] | None = None) -> NoReturn:
    """Carries out a `job` that has no presets on the options of its one configuration, then exits."""
    _run(job, lambda program, about, given: parse_config(kind, given, program=program, about=about), arguments)


def bad_input(error: Exception) -> BadInput | None:
    """The BadInput that an error is, or that Ray brings as text from a worker; None for any other error."""
    if not is_of_ray(error):
        return error if isinstance(error, BadInput) else None
    # Ray Data and dead actors keep of an exception only its traceback's text.
    text = str(error)
    names = "|".join(re.escape(f"{kind.__module__}.{kind.__qualname__}") for kind in _ONE_LINE)
    found = re.search(rf"^(?:{names}): (.+)$", text, re.MULTILINE)
    if found is None or "During handling of the above exception" in text:
        return None
    return BadInput(found[1])


def _run(
    job: Job[Configuration],
    parse: Callable[[str, str, list[str]], Parsed[Configuration]],
    arguments: Sequence[str] | None,
) -> NoReturn:
    hide_secrets()
    accept_any_text()
    parsed = None
    given = list(sys.argv[1:] if arguments is None else arguments)
    about = first_line(job.__doc__ or sys.modules[job.__module__].__doc__)
    try:
        parsed = parse(f"python {sys.argv[0]}", about, given)
        # Here, because starting Ray takes much longer than looking at the paths.
        check_paths(parsed.configuration, parsed.shown)
        sys.exit(_exit_code(job, parsed.configuration))
    except BrokenPipeError:  # `--help | head` closes its end early.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        answer = bad_input(error) or work_failed(error)
        if answer is None:
            raise
        message = str(answer) if parsed is None else parsed.with_options(str(answer))
        print(f"error: {message}", file=sys.stderr)
        sys.exit(BAD_INPUT if isinstance(answer, BadInput) else MISSED)


def _exit_code(job: Job[Configuration], configuration: Configuration) -> int:
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
