"""What lies behind a URL: fsspec's file systems, and the listing of one folder on a disk or in an object store."""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import fsspec
from fsspec.core import split_protocol

from bar_model.errors import BadInput

LeaveOut = Callable[[str, str], object]
"""Is told what a listing leaves out: the reason, and the name."""
HIDDEN = "hidden"

_VERSION_MARK = "?versionId="


class Entry(NamedTuple):
    """A file of a folder. `name` is relative to the folder; `version` (ETag or time) changes when the content does."""

    name: str
    size: int
    version: str


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
        BadInput: this user may not list it.
    """
    if is_local:
        try:
            with os.scandir(path) as found:
                infos = [(entry.name, _local_info(entry)) for entry in found]
        except PermissionError as error:
            raise BadInput(f"{path} can't be listed: let this user read it, or leave it out") from error
    else:
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


def describe_file(name: str, info: dict[str, Any]) -> Entry:
    """The entry of a file from a description of `list_folder` or of fsspec."""
    version = next((info[key] for key in ("ETag", "etag", "blob_id", "mtime", "LastModified") if info.get(key)), "")
    return Entry(name, int(info["size"]), str(version).strip('"'))


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
