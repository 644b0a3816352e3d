"""Whole files in folders of any URL: a file appears complete or not at all, on a disk as on S3."""

import errno
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast, overload

from fsspec.core import split_protocol

from bar_model.errors import BadInput, one_line
from pipeline.file_patterns import FilePattern
from pipeline.filesystem import (
    Entry,
    LeaveOut,
    StoreError,
    describe_file,
    download_files,
    forget,
    fresh_filesystem,
    list_folder,
    open_filesystem,
    store_errors,
    walk_folder,
    written_aside,
)

# Object stores whose put can be made conditional ("only if the name is free"). Elsewhere fsspec would imitate it by
# looking first and writing then, so that two writers could both succeed.
CONDITIONAL_PROTOCOLS = ("s3", "s3a")
BUSY_RETRIES = 8


@dataclass(frozen=True)
class Folder:
    """A folder on a disk (`path`, `file://…`) or in an object store (`s3://…`, `hf://…`).

    It holds nothing but its URL, so that it can be sent to Ray workers. A relative path is made absolute here, because
    workers have another working directory. S3's endpoint and credentials come from the usual AWS environment variables.
    """

    url: str
    is_local: bool = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        protocol, path = split_protocol(str(self.url))
        if not path:
            raise BadInput(f"{self.url!r} names no folder: give a path or a URL such as s3://bucket/folder")
        if protocol in CONDITIONAL_PROTOCOLS and path.partition("/")[2].startswith("/"):
            raise BadInput(f"{self.url!r}: a key of S3 that begins with / can't be named: take one of the slashes out")
        is_local = protocol in (None, "file", "local")
        object.__setattr__(self, "is_local", is_local)
        object.__setattr__(self, "url", str(Path(path).expanduser().resolve()) if is_local else self.url.rstrip("/"))

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> "Folder":
        return Folder(self.path(name))

    def path(self, name: str = "") -> str:
        """The URL of a file of this folder, or of the folder itself without a name.

        Raises:
            BadInput: the path of the name escapes the folder.
        """
        if name.startswith("/") or ".." in name.split("/"):
            raise BadInput(f"{name!r}: this path escapes the folder {self.url}: use names below the folder")
        return f"{self.url}/{name}" if name else self.url

    def exists(self, name: str = "") -> bool:
        """Whether the file is there; without a name, whether the folder is (in an object store: holds any file)."""
        with store_errors(self.path(name), "reached"):
            if self.is_local:
                return Path(self.path(name)).exists()
            return fresh_filesystem(self.url).exists(self.path(name))

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            FileNotFoundError: there is no such file.
            BadInput: a folder lies there.
        """
        with store_errors(self.path(name), "read"):
            if self.is_local:
                try:
                    return Path(self.path(name)).read_bytes()
                except IsADirectoryError as error:
                    raise _folder_there(self.path(name)) from error
            return cast(bytes, open_filesystem(self.url).cat_file(self.path(name)))

    def read_part(self, name: str, start: int, end: int) -> bytes:
        """The bytes [start, end) of a file, without reading the rest.

        Raises:
            FileNotFoundError: there is no such file.
        """
        with store_errors(self.path(name), "read"):
            if self.is_local:
                with Path(self.path(name)).open("rb") as file:
                    file.seek(start)
                    return file.read(end - start)
            if end <= start:
                return b""  # Which S3 has no range for.
            return cast(bytes, open_filesystem(self.url).cat_file(self.path(name), start=start, end=end))

    @contextmanager
    def open(self, name: str, *, read_ahead: int | None = None) -> Iterator[BinaryIO]:
        """A file opened for streaming and random reads.

        In an object store, `read_ahead` bytes are fetched beyond those that are read (None: fsspec's own caching).

        Raises:
            FileNotFoundError: there is no such file.
        """
        path = self.path(name)
        if self.is_local:
            opened = Path(path).open
        elif read_ahead is None:
            opened = partial(open_filesystem(self.url).open, path)
        else:
            opened = partial(open_filesystem(self.url).open, path, block_size=read_ahead, cache_type="readahead")
        with store_errors(path, "read"), opened("rb") as file:
            yield cast(BinaryIO, file)

    def write(self, name: str, data: bytes) -> None:
        """Writes a file, whole or not at all, in place of an older one of that name."""
        with _writing(self.path(name)):
            if self.is_local:
                with written_aside(Path(self.path(name)), data) as aside:
                    aside.replace(self.path(name))
            else:
                open_filesystem(self.url).pipe_file(self.path(name), data)

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """A stream for a block; its file appears, whole, when the block ends, and not at all after an error."""
        if not self.is_local:
            with _writing(self.path(name)), open_filesystem(self.url).open(self.path(name), "wb") as file:
                try:
                    yield cast(BinaryIO, file)
                except BaseException:
                    file.discard()  # pyright: ignore[reportAttributeAccessIssue]
                    file.closed = True  # pyright: ignore  (else the block's end would complete it)
                    raise
            return
        with _writing(self.path(name)), written_aside(Path(self.path(name))) as aside:
            with aside.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            aside.replace(self.path(name))

    def create(self, name: str, data: bytes) -> bool:
        """Writes a file unless its name is taken, and gives whether it did: of several writers exactly one gets True.

        A writer whose put arrived but whose answer was lost gets False, too: compare the content before giving up.

        Raises:
            BadInput: the object store has no conditional put, the disk is full, or a folder has this name.
        """
        if not self.is_local:
            with _writing(self.path(name)):
                return _create_remote(self, name, data)
        path = Path(self.path(name))
        with _writing(self.path(name)), written_aside(path, data) as aside:
            try:
                path.hardlink_to(aside)
            except FileExistsError as error:
                if path.is_dir():
                    raise _folder_there(str(path)) from error
                return False
        return True

    def remove(self, name: str) -> None:
        """Removes one file.

        Raises:
            FileNotFoundError: there is no such file.
        """
        with store_errors(self.path(name), "removed"):
            if self.is_local:
                Path(self.path(name)).unlink()
            else:
                open_filesystem(self.url).rm_file(self.path(name))

    def check_writable(self) -> None:
        """Looks whether outputs can go into a folder of an object store, without writing anything.

        Raises:
            BadInput: there is no such bucket, the store can't be reached, or it has no conditional put.
        """
        protocol, path = split_protocol(self.url)
        if protocol not in CONDITIONAL_PROTOCOLS:
            raise BadInput(f"{self.url}: {protocol}:// has no conditional put, which outputs need; use a disk or s3://")
        bucket = path.partition("/")[0]
        try:
            with store_errors(self.url, "written"):
                store: Any = fresh_filesystem(self.url)  # s3fs's own interface: `exists` hides errors.
                store.call_s3("head_bucket", Bucket=bucket)
        except FileNotFoundError:
            raise BadInput(f"{self.url}: there is no bucket {bucket!r}: make it first, or correct the name") from None

    def walk(self, leave_out: LeaveOut = forget) -> Iterator[Entry]:
        """All files below this folder, depth first, each folder's files and folders in the order of their names.

        The listing is streamed: one folder of each level of depth is in memory. A symbolic link is followed, but never
        to a folder that holds it. `leave_out` is told of all that is no file: hidden names (`.x`), links to nothing or
        to a folder that holds them, devices.
        """
        yield from walk_folder(self.url, is_local=self.is_local, leave_out=leave_out)

    def folders(self) -> tuple[str, ...]:
        """The names of the folders directly in this one, in order."""
        return tuple(
            name for name, info in list_folder(self.url, is_local=self.is_local) if info["type"] == "directory"
        )

    def list(self, pattern: str = "*", leave_out: LeaveOut = forget) -> list[Entry]:
        """The files directly in this folder that match a pattern, by name; none if no folder is there.

        See `FilePattern` for what a pattern may be. `leave_out` is told of what matches but is no file.
        """
        try:
            infos = list_folder(self.url, is_local=self.is_local)
        except (FileNotFoundError, NotADirectoryError):
            return []
        meant = FilePattern(pattern)
        entries = []
        for name, info in infos:
            if meant.matches(name):
                if info["type"] == "file":
                    entries.append(describe_file(name, info))
                else:
                    leave_out(info["type"], name)
        return entries


@overload
def absolute(url: str) -> str: ...
@overload
def absolute(url: str | None) -> str | None: ...
def absolute(url: str | None) -> str | None:
    """The URL with an absolute path, so that workers, which have another working directory, find it; None stays."""
    return None if url is None else Folder(url).url


def read_url(url: str) -> bytes:
    """The content of one file of any URL.

    Raises:
        FileNotFoundError: it is not there.
    """
    directory, _, name = Folder(url).url.rpartition("/")
    return Folder(directory or "/").read(name)


def write_url(url: str, data: bytes) -> None:
    """Puts one file of any URL in place, whole or not at all.

    Raises:
        BadInput: a folder lies there.
    """
    whole = Folder(url)
    if whole.is_local and Path(whole.url).is_dir():
        raise BadInput(f"{whole.url} is a folder: name a file in it")
    directory, _, name = whole.url.rpartition("/")
    Folder(directory or "/").write(name, data)


def local_copy(url: str) -> Path:
    """The local path of a file or folder of any URL. What is remote is downloaded, once for each version.

    Downloads lie under `$XDG_CACHE_HOME/bar` (default `~/.cache/bar`), named by URL, file names and their versions.

    Raises:
        BadInput: nothing is there.
    """
    folder = Folder(url)
    if not folder.exists():
        raise BadInput(f"{folder.url} is not there: check the path, or the bucket and its credentials")
    if folder.is_local:
        return Path(folder.url)
    with store_errors(folder.url, "read"):
        filesystem = open_filesystem(folder.url)
        is_file = filesystem.isfile(folder.url)
        entries = [describe_file("", filesystem.info(folder.url))] if is_file else list(folder.walk())
    identity = hashlib.sha256(repr((folder.url, entries)).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bar"
    with store_errors(folder.url, f"downloaded to {cache}"):
        return download_files(folder.url, [entry.name for entry in entries], cache / identity)


def _folder_there(path: str) -> BadInput:
    return BadInput(f"{path} is a folder, where a file has its place: move it away")


def _create_remote(folder: Folder, name: str, data: bytes) -> bool:
    if split_protocol(folder.url)[0] not in CONDITIONAL_PROTOCOLS:
        folder.check_writable()  # Which says why not.
    for attempt in range(BUSY_RETRIES):
        try:
            open_filesystem(folder.url).pipe_file(folder.path(name), data, mode="create")
            return True
        except OSError as error:
            try:
                is_there = folder.exists(name)
            except StoreError:
                raise error from error.__cause__  # What was refused first says more.
            if is_there:
                return False
            # S3 answers 409 while another writer's conditional put is under way.
            if error.errno != errno.EBUSY or attempt == BUSY_RETRIES - 1:
                raise
            time.sleep(0.1 * 2**attempt)
    raise AssertionError("unreachable: the last attempt returns or raises")


@contextmanager
def _writing(path: str) -> Iterator[None]:
    """A block that writes a file: what fails there is one line, a missing bucket included."""
    try:
        with store_errors(path, "written"):
            yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreError(f"{path} can't be written ({one_line(error)}): make the bucket or folder first") from None
