"""What the fields of a configuration name, and a look at each of those places before any work starts.

A field says so by its type: `source: SourceUrl`, `tokenizer: InputUrl | None`, `out: OutputFolder`. So a typing error
costs a second, not the minute in which Ray starts.
"""

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from bar_model.errors import BadInput
from pipeline.redaction import HIDDEN, is_redacted
from pipeline.storage import Folder

RAY_WORKING_FOLDERS = "runtime_resources"
"""Ray's name for the folder of a session below which jobs that were submitted have their working folders."""
Kind = Literal["input", "source", "output folder"]


@dataclasses.dataclass(frozen=True)
class Place:
    """The mark of a field that names a place."""

    kind: Kind


InputUrl = Annotated[str, Place("input")]
"""A file or folder that has to be there: a path or a URL."""
SourceUrl = Annotated[str, Place("source")]
"""A folder of pictures, or FOLDER/PATTERN of files that hold some."""
OutputFolder = Annotated[str, Place("output folder")]
"""A folder that is made where it is missing: a path or a URL."""


def check_paths(configuration: Any, shown: Callable[[str], str] = str) -> None:
    """Looks at every place that a configuration names, its parts included; `shown` gives a field's name in messages.

    Raises:
        BadInput: an input is not there, a folder for outputs is a file, lies below one or can't be written, or a store
            can't be reached; the message names the field and the place. Or TMPDIR is no folder to write to.
    """
    _check_temporary_folder()
    for name, kind, url in _places(configuration):
        try:
            check_whole(url)
            _CHECKS[kind](url)
        except BadInput as error:
            raise BadInput(f"{shown(name)}: {error}") from error
        except Exception as error:  # Every store's library has errors of its own.
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise BadInput(
                f"{shown(name)}: {url} can't be reached ({reason}): check address and credentials"
            ) from error
    _check_parts(configuration)


def check_whole(url: str) -> None:
    """Checks that a URL has its secrets, which are shown and stored as `***`.

    Raises:
        BadInput: it has lost one.
    """
    if is_redacted(url):
        raise BadInput(f"{url} was copied from where secrets are shown as {HIDDEN}: give the whole URL")


def check_lasts(url: str, what: str) -> None:
    """Checks that a relative path does not lie in the folder that Ray removes with the job of `ray job submit`.

    Raises:
        BadInput: it does.
    """
    if "://" in url or Path(url).expanduser().is_absolute() or "RAY_JOB_CONFIG_JSON_ENV_VAR" not in os.environ:
        return
    if RAY_WORKING_FOLDERS in Path.cwd().parts:
        raise BadInput(
            f"{what}: {url} would lie in a temporary folder of Ray's, which is removed after this job: give an "
            "absolute path on storage that all machines see, or a URL"
        )


def _check_parts(configuration: Any) -> None:
    """Calls `check_before_work` of each part that has one."""
    if dataclasses.is_dataclass(configuration):
        if (check := getattr(configuration, "check_before_work", None)) is not None:
            check()
        for field in dataclasses.fields(configuration):
            _check_parts(getattr(configuration, field.name))


def _check_temporary_folder() -> None:
    """Python would take another folder without a word, and the libraries that it starts would not."""
    for name in ("TMPDIR", "TEMP", "TMP"):
        path = os.environ.get(name)
        if path and not (Path(path).is_dir() and os.access(path, os.W_OK | os.X_OK)):
            raise BadInput(f"{name}: {path} is no folder that can be written: make it, or unset {name}")


def _places(configuration: Any, below: str = "") -> Iterator[tuple[str, Kind, str]]:
    """(field, kind, URL) of every place that is named."""
    if not dataclasses.is_dataclass(configuration):
        return
    hints = get_type_hints(type(configuration), include_extras=True)
    for field in dataclasses.fields(configuration):
        value, name = getattr(configuration, field.name), f"{below}{field.name}"
        yield from _places(value, f"{name}.")
        kind = _kind(hints[field.name])
        if kind is None or value is None:
            continue
        for url in (value,) if isinstance(value, str) else value:
            yield name, kind, url


def _kind(hint: Any) -> Kind | None:
    """What is marked in an annotation, also inside of `| None`, a tuple or `Positional`."""
    if get_origin(hint) is Annotated:
        marks = [extra for extra in get_args(hint)[1:] if isinstance(extra, Place)]
        return marks[0].kind if marks else _kind(get_args(hint)[0])
    kinds: list[Kind] = [kind for part in get_args(hint) if (kind := _kind(part)) is not None]
    return kinds[0] if kinds else None


def _check_input(url: str) -> None:
    if not Folder(url).exists():
        raise BadInput(f"{Folder(url).url} is not there: check the path, or the bucket and its credentials")


def _check_source(url: str) -> None:
    """A pattern of files has to match some; anything else has to be there."""
    folder, _, pattern = Folder(url).url.rpartition("/")
    if not Folder(url).exists() and not Folder(folder or "/").list(pattern):
        raise BadInput(f"{url}: no file is there: check the path, or the bucket and its credentials")


def _check_output(url: str) -> None:
    folder = Folder(url)
    if not folder.is_local:
        folder.check_writable()
        return
    check_lasts(url, "the output")
    path = Path(folder.url)
    there = next(each for each in (path, *path.parents) if each.exists() or each.is_symlink())
    if not there.is_dir():
        what = "is" if there == path else f"lies below {there}, which is"
        raise BadInput(f"{path} {what} a file: name a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise BadInput(f"{path} can't be written: {there} is another user's; name a folder of your own")


_CHECKS = {"input": _check_input, "source": _check_source, "output folder": _check_output}
