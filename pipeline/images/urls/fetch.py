"""Gets the pictures of lists from disks, stores and web servers: tried again where that may help, within limits.

Whatever a server does costs its own pictures at most, and those a stated time: see `FetchLimits`.
"""

import errno
import os
import random
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, cast

from fsspec import AbstractFileSystem

from bar_model.errors import BadInput, one_line
from pipeline.filesystem import open_filesystem
from pipeline.images.codec import BadImage, UnreachableImage
from pipeline.images.urls.limits import FetchLimits, NoAnswer, too_large
from pipeline.images.urls.policy import Target, UrlPolicy, is_public
from pipeline.redaction import redact_text

if TYPE_CHECKING:
    from pipeline.images.urls.web_client import WebClient

HOSTS_REMEMBERED = 10_000

_down: OrderedDict[str, None] = OrderedDict()
"""Hosts that were down when this process last asked. For the next unit each is tried once before all its pictures."""
_jitter = random.Random()
_PASSING = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EINTR, errno.EMFILE, errno.ENFILE})
"""Errors of a disk or of this process, not of the file."""


class Fetcher:
    """Gets pictures for one unit, from any number of threads; a block, at whose end all connections are closed."""

    def __init__(
        self, policy: UrlPolicy, limits: FetchLimits | None = None, permits: Callable[[str], bool] = is_public
    ) -> None:
        self._policy, self._limits, self._permits = policy, limits or FetchLimits(), permits
        self._lock = threading.Lock()
        self._web: WebClient | None = None
        self._hosts: dict[str, _Host] = {}

    def __enter__(self) -> "Fetcher":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._web is not None:
            self._web.close()

    def fetch(self, target: Target) -> bytes:
        """The content of what a row of a list names.

        Raises:
            UnreachableImage: it can't be had now, and another time it may.
            BadImage: it can't be had, or is too large.
        """
        if target.kind == "disk":
            return read_local(target.address, self._limits.max_bytes)
        host = self._host(target.host)
        # One picture at a time while it is not known whether the host is back.
        with host.places, host.probing if host.is_suspect else nullcontext():
            if host.is_down:
                raise UnreachableImage(f"was not asked for: {host.name} has failed for the images before it")
            return self._tried(host, target)

    def _tried(self, host: "_Host", target: Target) -> bytes:
        limits, start = self._limits, time.monotonic()
        tries, end = 1 if host.is_hurried else limits.tries, start + limits.total_s
        for number in range(1, tries + 1):
            time.sleep(max(0.0, min(host.resume_at, end) - time.monotonic()))
            try:
                content = self._read(target, max(0.001, min(limits.try_s, end - time.monotonic())))
            except NoAnswer as error:
                wait = limits.first_wait_s * 2 ** (number - 1) * _jitter.uniform(0.5, 1.5)
                if error.after_s is not None:
                    wait = error.after_s
                    host.resume_at = max(host.resume_at, time.monotonic() + min(wait, limits.longest_wait_s))
                is_last = number == tries or not error.retry
                if is_last or wait > limits.longest_wait_s or time.monotonic() + wait >= end:
                    host.failed(time.monotonic() - start)
                    raise UnreachableImage(f"{error}, tried {number} times" if number > 1 else str(error)) from error
                time.sleep(wait)
            except UnreachableImage:  # Not permitted: says nothing about the host.
                raise
            except BadImage:
                host.answered()
                raise
            else:
                host.answered()
                return content
        raise AssertionError("unreachable: the last try returns or raises")

    def _read(self, target: Target, timeout_s: float) -> bytes:
        if target.kind == "store":
            return read_object(target.address, self._limits.max_bytes)
        with self._lock:
            if self._web is None:
                from pipeline.images.urls.web_client import (
                    WebClient,  # aiohttp takes a moment, and many lists need none.
                )

                self._web = WebClient(self._policy, self._limits, self._permits)
        return self._web.get(target.address, timeout_s)

    def _host(self, name: str) -> "_Host":
        with self._lock:
            return self._hosts.setdefault(name, _Host(name, self._limits))


class _Host:
    """What is known of a web server, or of a bucket of a store."""

    def __init__(self, name: str, limits: FetchLimits) -> None:
        self.name = name
        self.places = threading.BoundedSemaphore(limits.at_once_per_host)
        self.probing = threading.Lock()
        self.is_suspect = name in _down
        self.is_down = False
        self.resume_at = 0.0
        """When it wants to be asked again, as `time.monotonic` counts."""
        self._limits, self._failures, self._lost_s = limits, 0, 0.0

    @property
    def is_hurried(self) -> bool:
        """Whether each picture gets one try."""
        return self.is_suspect or self._failures >= self._limits.failures_until_hurry

    def answered(self) -> None:
        """Notes that the host is well, whatever it said of one picture."""
        self._failures, self._lost_s, self.is_suspect, self.is_down = 0, 0.0, False, False
        _down.pop(self.name, None)

    def failed(self, lost_s: float) -> None:
        """Notes that a picture could not be got, and the time that this took."""
        self._lost_s += lost_s if self.is_hurried else 0
        self._failures += 1
        if self.is_suspect or self._lost_s > self._limits.patience_s:
            self.is_down = True
            _down[self.name] = None
            while len(_down) > HOSTS_REMEMBERED:
                _down.popitem(last=False)


def read_local(path: str, max_bytes: int) -> bytes:
    """The content of a file of this machine; nothing is opened that is no regular file, as a pipe never ends.

    Raises:
        UnreachableImage: the disk failed.
        BadImage: it is no file, is too large, or can't be read by this user.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise BadImage("can't be read: it is a folder" if Path(path).is_dir() else "can't be read: it is no file")
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        passes = error.errno in _PASSING
        raise (UnreachableImage if passes else BadImage)(f"can't be read ({type(error).__name__})") from error
    if len(content) > max_bytes:
        raise BadImage(too_large(max_bytes))
    return content


def read_object(url: str, max_bytes: int) -> bytes:
    """The content of an object of a store.

    Raises:
        NoAnswer: the store failed.
        UnreachableImage: this machine can't use such stores.
        BadImage: there is no such object, it is too large, or not for these credentials.
    """
    try:
        store = open_filesystem(url)
    except BadInput as error:
        raise UnreachableImage(f"can't be read: {redact_text(one_line(error))}") from error
    try:
        content = _cat(store, url, max_bytes + 1)
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise BadImage(f"can't be read ({type(error).__name__})") from error
    except Exception as error:  # Every store's library has errors of its own.
        raise NoAnswer(f"can't be read: its store failed ({type(error).__name__})") from error
    if len(content) > max_bytes:
        raise BadImage(too_large(max_bytes))
    return content


def _cat(store: AbstractFileSystem, url: str, num: int) -> bytes:
    """The first bytes of an object, so that a huge one is not fetched."""
    try:
        return cast(bytes, store.cat_file(url, start=0, end=num))
    except OSError as error:
        # S3 has no range of an empty object.
        if error.errno == errno.EINVAL and store.size(url) == 0:
            return b""
        raise
