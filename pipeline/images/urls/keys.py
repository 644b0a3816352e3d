"""Keys of a list's images, which are stored and shown: their URLs without secrets, unique within the list.

A list that is signed again keeps its keys. What a key stands for is found in the list itself, never in what is stored.
"""

import hashlib
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple
from urllib.parse import unquote

from pipeline.images.source import ListedImage
from pipeline.redaction import HIDDEN, redacted
from pipeline.secret_names import SIGNATURES, is_companion

MARK_DIGITS = 8
_SIGNING = ("x-amz-", "x-goog-", "x-oss-", "q-sign-", "q-key-", "q-ak", "q-header-", "q-url-", "q-signature")
_UNSIGNED = "x-oss-process"
_OLDER = "signature expires policy key-pair-id awsaccesskeyid googleaccessid ossaccesskeyid security-token"
_WITH_SIGNATURE = frozenset(_OLDER.split())
"""What belongs to a `Signature`: CloudFront's, and the older ones of Amazon, Google and Alibaba."""


class KeyedRow(NamedTuple):
    """A row of a list. Where the key is not the URL, `mark` tells URLs of one key apart, however they are signed."""

    key: str
    label: int = 0
    problem: str = ""
    mark: str | None = None
    url: str | None = None

    @staticmethod
    def of(url: str, label: int, problem: str) -> "KeyedRow":
        """The row of a URL."""
        key = redacted(url)
        if key == url:
            return KeyedRow(url, label, problem)
        mark = hashlib.sha256(unsigned(url).encode()).hexdigest()[:MARK_DIGITS]
        return KeyedRow(key, label, problem, mark, url)


class KeyTable:
    """Rows with their keys, in a nameless file of this machine that is gone with this object."""

    def __init__(self, rows: Iterable[KeyedRow]) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect("", check_same_thread=False)
        self._database.create_function("place", 1, _place, deterministic=True)
        self._database.execute("CREATE TABLE images (key TEXT, label INTEGER, problem TEXT, mark TEXT, url TEXT)")
        self._database.executemany("INSERT INTO images VALUES (?, ?, ?, ?, ?)", rows)
        if self._database.execute("SELECT 1 FROM images WHERE mark NOTNULL LIMIT 1").fetchone() is not None:
            self._database.execute(
                "UPDATE images SET key = key || '#' || mark WHERE mark NOTNULL AND key IN "
                "(SELECT key FROM images GROUP BY key HAVING count(DISTINCT ifnull(mark, '')) > 1)"
            )

    def close(self) -> None:
        """Removes the file."""
        self._database.close()

    def listed(self) -> Iterator[ListedImage]:
        """All images in the order of listings; those of one key in the order of the list."""
        rows = self._database.execute("SELECT key, label, problem FROM images ORDER BY place(key), rowid")
        yield from (ListedImage(key, label, 0, "", problem=problem) for key, label, problem in rows)

    def urls(self, keys: Sequence[str]) -> dict[str, str]:
        """The URLs of these keys, the first in the list of each; keys that it has not are left out."""
        with self._lock:
            self._database.execute("CREATE INDEX IF NOT EXISTS by_key ON images (key)")
            find = "SELECT ifnull(url, key) FROM images WHERE key = ? ORDER BY rowid LIMIT 1"
            found = ((key, self._database.execute(find, (key,)).fetchone()) for key in keys)
            return {key: row[0] for key, row in found if row is not None}


def is_hidden(key: str) -> bool:
    """Whether a key may stand for another URL than itself."""
    return HIDDEN in key


def unsigned(url: str) -> str:
    """The URL without the parameters by which Amazon, Google, Azure, Alibaba, Tencent and CloudFront sign.

    All other parameters and secrets stay.
    """
    start, mark, rest = url.partition("?")
    query, hash_mark, fragment = rest.partition("#")
    parameters = [(unquote(each.partition("=")[0]).lower(), each) for each in query.split("&")]
    names = {name for name, _ in parameters}
    kept = [each for name, each in parameters if not _signs(name, names)]
    return f"{start}{mark}{'&'.join(kept)}{hash_mark}{fragment}" if len(kept) < len(parameters) else url


def _signs(name: str, names: set[str]) -> bool:
    if name.startswith(_SIGNING) and not name.startswith(_UNSIGNED):
        return True
    if name in _WITH_SIGNATURE:
        return "signature" in names
    return (name in SIGNATURES or is_companion(name)) and not names.isdisjoint(SIGNATURES)


def _place(key: str) -> bytes:
    """Bytes in the order of a key's components, each by its characters."""
    return key.encode().replace(b"\0", b"\0\xff").replace(b"/", b"\0")
