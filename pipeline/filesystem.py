"""What lies behind a URL: fsspec's file systems, and the listing of one folder on a disk or in an object store."""

import os
from typing import Any, NamedTuple

import fsspec
from fsspec.core import split_protocol

from bar_model.errors import BadInput


class Entry(NamedTuple):
    """A file of a folder. `name` is relative to the folder; `version` (ETag or time) changes when the content does."""

    name: str
    size: int
    version: str


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


def list_folder(path: str, *, is_local: bool) -> list[tuple[str, dict[str, Any]]]:
    """The names and descriptions of what lies directly in a folder, by name; hidden names are left out.

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
        # S3 lists a folder's own marker, an empty object `folder/`, among its contents.
        infos = [(info["name"].rsplit("/", 1)[-1], info) for info in listing if not info["name"].endswith("/")]
    seen = ((name, info) for name, info in infos if not name.startswith("."))
    # A name that is no UTF-8 is sorted as it is shown. In an object store a file and a folder may have the same name.
    return sorted(seen, key=lambda pair: (pair[0].encode(errors="backslashreplace"), pair[1]["type"] == "directory"))


def describe_file(name: str, info: dict[str, Any]) -> Entry:
    """The entry of a file from a description of `list_folder` or of fsspec."""
    version = next((info[key] for key in ("ETag", "etag", "blob_id", "mtime", "LastModified") if info.get(key)), "")
    return Entry(name, int(info["size"]), str(version).strip('"'))


def _local_info(entry: os.DirEntry[str]) -> dict[str, Any]:
    try:
        status = entry.stat()
    except OSError:
        return {"type": "dangling link"}
    kind = "directory" if entry.is_dir() else "file" if entry.is_file() else "other"
    return {"type": kind, "size": status.st_size, "mtime": status.st_mtime_ns}
