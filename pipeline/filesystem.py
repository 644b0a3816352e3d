"""What lies behind a URL: fsspec's file systems, their errors, and what lies in one folder on a disk or in a store."""

import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
from fsspec.core import split_protocol

from bar_model.errors import BadInput, one_line
from pipeline.redaction import redacted

LeaveOut = Callable[[str, str], object]
"""Is told what a listing leaves out: the reason, and the name."""
HIDDEN = "hidden"

_VERSION_MARK = "?versionId="
_LONGEST_REASON = 300
_IF_FORBIDDEN = (
    "give credentials that may (for S3 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY), or name another place",
    "let this user do it, or name another place",
)
_IF_FAILED = (
    "check the address, the network and the credentials, then run again, which goes on from what is done",
    "check the path and its disk, then run again, which goes on from what is done",
)
_BAD_CREDENTIALS = frozenset(
    {"ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "RequestTimeTooSkewed", "SignatureDoesNotMatch"}
)
_CLIENTS = {"aiobotocore", "aiohttp", "botocore", "gcsfs", "httpcore", "httpx", "httpx2", "huggingface_hub", "requests"}
"""Packages that talk to stores, whose errors are not all of Python's."""


class Entry(NamedTuple):
    """A file of a folder. `name` is relative to the folder; `version` (ETag or time) changes when the content does."""

    name: str
    size: int
    version: str


class StoreError(BadInput, OSError):
    """A disk or an object store that can't be used now; the message is one line: what, where, what to do."""


class StoreForbidden(StoreError, PermissionError):
    """A disk or an object store that does not permit this with this file."""


@contextmanager
def store_errors(url: str, done: str) -> Iterator[None]:
    """A block in which a file or folder is to be `done` ("read", "written", …): what fails there is one line.

    `FileNotFoundError` and `NotADirectoryError` stay what they are: to those who read they are an answer.

    Raises:
        StoreError: the disk or the store failed, or (`StoreForbidden`) it does not permit this.
    """
    try:
        yield
    except (BadInput, FileNotFoundError, NotADirectoryError):
        raise
    except Exception as error:
        if not _is_of_store(error):
            raise
        reason = one_line(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)[:_LONGEST_REASON]
        kind, remedy = _kind_and_remedy(error)
        # Without a cause: from a worker, Ray brings the whole chain as text, in which this line has to be found.
        raise kind(f"{url} can't be {done} ({reason}): {remedy[split_protocol(url)[0] is None]}") from None


def forget(reason: str, name: str) -> None:
    """A `LeaveOut` for listings of this project's own files."""


def open_filesystem(url: str) -> fsspec.AbstractFileSystem:
    """The file system of a URL's protocol.

    Raises:
        BadInput: fsspec knows no such protocol, or its library is missing.
    """
    protocol = split_protocol(url)[0]
    try:
        return fsspec.filesystem(protocol)
    except (ValueError, ImportError) as error:
        raise BadInput(f"{url}: can't use {protocol}:// ({error}); use a path, s3:// or hf://") from error


def fresh_filesystem(url: str) -> fsspec.AbstractFileSystem:
    """A file system without cached listings: other processes write to the same folders."""
    filesystem = open_filesystem(url)
    filesystem.invalidate_cache()
    return filesystem


def list_folder(path: str, *, is_local: bool, leave_out: LeaveOut = forget) -> list[tuple[str, dict[str, Any]]]:
    """The names and descriptions of what lies directly in a folder, by name; hidden names are left out.

    The type of each is `directory`, `file`, or what else it is, which can't be read.

    Raises:
        FileNotFoundError: there is no such folder.
        StoreError: it can't be listed.
    """
    if is_local:
        with store_errors(path, "listed"), os.scandir(path) as found:
            infos = [(entry.name, _local_info(entry)) for entry in found]
    else:
        with store_errors(path, "listed"):
            listing = fresh_filesystem(path).ls(path, detail=True)
        infos = [(_last_part(info["name"]), info) for info in listing if _has_name(info, leave_out)]
    seen = []
    for name, info in infos:
        if name.startswith("."):
            leave_out(HIDDEN, name)
        else:
            seen.append((name, info))
    # A name that is no UTF-8 is sorted as it is shown. In an object store a file and a folder may have the same name.
    return sorted(seen, key=lambda pair: (pair[0].encode(errors="backslashreplace"), pair[1]["type"] == "directory"))


def walk_folder(
    url: str, below: str = "", *, is_local: bool, leave_out: LeaveOut, parents: frozenset[Path] = frozenset()
) -> Iterator[Entry]:
    """All files below a folder, depth first, as `Folder.walk` says; `parents` are the real folders around this one."""
    path = f"{url}/{below}" if below else url
    if is_local:
        real = Path(path).resolve()
        if real in parents:
            leave_out("link to a folder that holds it", below)
            return
        parents = parents | {real}
    prefix = f"{below}/" if below else ""
    infos = list_folder(path, is_local=is_local, leave_out=lambda reason, name: leave_out(reason, prefix + name))
    for base, info in infos:
        if info["type"] == "directory":
            yield from walk_folder(url, prefix + base, is_local=is_local, leave_out=leave_out, parents=parents)
        elif info["type"] == "file":
            yield describe_file(prefix + base, info)
        else:
            leave_out(info["type"], prefix + base)


@contextmanager
def written_aside(path: Path, data: bytes = b"") -> Iterator[Path]:
    """A hidden file with the data, safely on the disk beside the path, to be moved or linked; removed afterwards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.parent / f".{path.name}.{uuid.uuid4().hex}"
    try:
        with aside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield aside
        # The new name, too, must survive a power cut.
        directory = os.open(path.parent, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise BadInput(f"{path}: no space is left there: free some and run again, which goes on from here") from error
    finally:
        aside.unlink(missing_ok=True)


def download_files(url: str, names: Sequence[str], folder: Path) -> Path:
    """Downloads files below a URL (or, by an empty name, the URL's own file) into a local folder, which appears whole.

    What is there already is not fetched again. Gives its path, named as the URL ends, without secrets of its query.
    """
    shown = redacted(url)
    name = shown.rsplit("/", 1)[-1]
    target = folder / (name if shown == url else name.partition("?")[0])
    if target.exists():
        return target
    aside = folder.parent / f".{folder.name}-{uuid.uuid4().hex}"
    for each in names:
        path = aside / target.name / each if each else aside / target.name
        path.parent.mkdir(parents=True, exist_ok=True)
        open_filesystem(url).get_file(f"{url}/{each}" if each else url, str(path))
    try:
        aside.rename(folder)
    except OSError:
        shutil.rmtree(aside)
        if not target.exists():
            raise
    return target


def describe_file(name: str, info: dict[str, Any]) -> Entry:
    """The entry of a file from a description of `list_folder` or of fsspec."""
    version = next((info[key] for key in ("ETag", "etag", "blob_id", "mtime", "LastModified") if info.get(key)), "")
    return Entry(name, int(info["size"]), str(version).strip('"'))


def _kind_and_remedy(error: Exception) -> tuple[type[StoreError], tuple[str, str]]:
    if not isinstance(error, PermissionError):
        return StoreError, _IF_FORBIDDEN if "Credentials" in type(error).__name__ else _IF_FAILED
    # What S3 answers to bad credentials says nothing about the file that was asked for.
    code = getattr(error.__cause__, "response", {}).get("Error", {}).get("Code")
    return StoreError if code in _BAD_CREDENTIALS else StoreForbidden, _IF_FORBIDDEN


def _is_of_store(error: Exception) -> bool:
    """Whether an error is a disk's or a store's. What Arrow says of a damaged file is an OSError without a number."""
    if isinstance(error, OSError) and (error.errno is not None or isinstance(error, TimeoutError | PermissionError)):
        return True
    return any(kind.__module__.partition(".")[0] in _CLIENTS for kind in type(error).__mro__)


def _has_name(info: dict[str, Any], leave_out: LeaveOut) -> bool:
    """Whether an object of a store can be read by a name below its folder, exactly as the name is written."""
    name = info["name"]
    if name.endswith("/"):
        # S3 lists a folder's own marker, an empty object `folder/`, among its contents.
        if info["type"] == "directory" or info["size"]:
            leave_out("below an empty name (//)", "/")
        return False
    if _VERSION_MARK in name:
        leave_out(f"with {_VERSION_MARK} in the key", _last_part(name))  # s3fs would read another object.
        return False
    return True


def _last_part(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2]


def _local_info(entry: os.DirEntry[str]) -> dict[str, Any]:
    try:
        status = entry.stat()
    except OSError:
        return {"type": "dangling link"}
    kind = "directory" if entry.is_dir() else "file" if entry.is_file() else "device, pipe or socket"
    return {"type": kind, "size": status.st_size, "mtime": status.st_mtime_ns}
