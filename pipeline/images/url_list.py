"""Images that a table lists: CSV or Parquet files with a column `url` and one of labels."""

import codecs
import functools
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from csv import Error as CsvError
from csv import reader
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyarrow import csv

from bar_model.errors import BadInput, one_line
from pipeline.filesystem import Entry, LeaveOut, forget
from pipeline.images.class_map import LabelMap
from pipeline.images.codec import BadImage, UnreachableImage
from pipeline.images.left_out import LeftOut, printable
from pipeline.images.parquet import ROWS_LISTED, check_labels, read_schema, stream_columns
from pipeline.images.source import READS_AT_ONCE, ListedImage, StoredImage, count_doubled
from pipeline.images.urls.fetch import Fetcher
from pipeline.images.urls.keys import KeyedRow, KeyTable, is_hidden
from pipeline.images.urls.limits import FetchLimits
from pipeline.images.urls.policy import WEB, UrlPolicy, locate
from pipeline.redaction import redact_text
from pipeline.storage import Folder
from pipeline.tables import TypeCheck, is_number_or_text, is_text

URL_COLUMN = "url"
URL_ESCAPES = "its path climbs out of the folder"
"""A problem of an image. Plans hold this text and are compared with it: it stays as it is."""
NO_URL, NO_TEXT = "has no URL", "has a name that is no UTF-8"
"""Problems, too."""
NOT_LISTED = "is not in its list any more, which alone holds its whole URL: restore the list"
READ_AHEAD, READ_AHEAD_BYTES = 64, 2**28
"""Images, and bytes of them, that are read before they are asked for. What is being read counts when it is there."""
HEADER_BYTES = 1 << 16
_OTHER_MARKS = {"\t": "tabs", ";": "semicolons", "|": "bars"}


@dataclass(frozen=True)
class UrlList:
    """Images by their URLs: on web servers, in stores, on a disk. A relative URL lies below the list's folder.

    An image's key is its URL without secrets. What a URL names is taken as unchanging, because millions of URLs can't
    be checked one by one.
    What can't be got costs the image alone: `policy` says what may be reached, `limits` what that may take.
    """

    url: str
    pattern: str
    labels: LabelMap
    label_column: str
    policy: UrlPolicy = UrlPolicy()
    limits: FetchLimits = FetchLimits()

    @staticmethod
    def open(
        folder: Folder, pattern: str, labels: LabelMap, label_column: str, image_column: str | None
    ) -> "UrlList | None":
        """The source of a folder's files; None where a Parquet file has no column `url`."""
        if image_column is not None:
            return None
        name = folder.list(pattern)[0].name
        if name.lower().endswith(".parquet"):
            schema = read_schema(folder, name)
            if URL_COLUMN not in schema.names:
                return None
            check_labels(schema, label_column, folder.path(name))
        return UrlList(folder.url, pattern, labels, label_column)

    @property
    def identity(self) -> dict[str, Any]:
        """The kind, the files, their column of labels and the class map, as JSON values."""
        columns = {"label_column": self.label_column}
        return {"kind": "URL list", "url": f"{self.url}/{self.pattern}", **columns, **self.labels.identity}

    @property
    def summary(self) -> str:
        """The number of files and the columns that are read."""
        num = len(Folder(self.url).list(self.pattern))
        return f"{self.url}/{self.pattern}: {num:,} lists of URLs, columns {URL_COLUMN!r} and {self.label_column!r}"

    def listing(self, left_out: LeftOut | None = None) -> Iterator[ListedImage]:
        """All images, sorted by a database on the local disk, so that a long list needs no memory.

        `left_out` counts what the pattern names but is no file.
        """
        table = KeyTable(self._rows(forget if left_out is None else left_out.add))
        try:
            yield from count_doubled(table.listed())
        finally:
            table.close()

    def read(self, listed: Sequence[ListedImage]) -> Iterator[StoredImage]:
        """The bytes of these images, several read at once, some of them ahead."""
        folder, urls = Folder(self.url), self._urls(listed)
        ahead: deque[Future[StoredImage]] = deque()
        with Fetcher(self.policy, self.limits) as fetcher, ThreadPoolExecutor(READS_AT_ONCE) as pool:
            try:
                for image in listed:
                    while len(ahead) >= READ_AHEAD or (ahead and _held_bytes(ahead) >= READ_AHEAD_BYTES):
                        yield ahead.popleft().result()
                    ahead.append(pool.submit(self._stored, fetcher, folder, image, urls[image.key]))
                while ahead:
                    yield ahead.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)

    def _urls(self, listed: Sequence[ListedImage]) -> dict[str, str | BadImage]:
        """The URLs by their keys, or why they are not known; those that hide something are looked up in the list."""
        urls: dict[str, str | BadImage] = {image.key: image.key for image in listed}
        hidden = [image.key for image in listed if is_hidden(image.key)]
        if hidden:
            urls |= dict.fromkeys(hidden, UnreachableImage(NOT_LISTED))
            try:
                urls |= _hidden_urls(self.url, tuple(Folder(self.url).list(self.pattern))).urls(hidden)
            except OSError as error:
                reason = f"can't be read: neither can its list, which holds its whole URL ({type(error).__name__})"
                urls |= dict.fromkeys(hidden, UnreachableImage(reason))
        return urls

    def _stored(self, fetcher: Fetcher, folder: Folder, image: ListedImage, url: str | BadImage) -> StoredImage:
        data = url if isinstance(url, BadImage) else self._fetched(fetcher, folder, url)
        if isinstance(data, BadImage) and isinstance(url, str) and url != url.strip():
            data = self._fetched(fetcher, folder, url.strip())  # No file has these blanks in its name.
        return StoredImage(image.key, image.label, printable(image.key), data)

    def _fetched(self, fetcher: Fetcher, folder: Folder, url: str) -> bytes | BadImage:
        try:
            return fetcher.fetch(locate(url, folder, self.policy))
        except BadImage as error:
            return error

    def _rows(self, leave_out: LeaveOut) -> Iterator[KeyedRow]:
        folder = Folder(self.url)
        for entry in folder.list(self.pattern, leave_out):
            row = 0
            for batch in _stream(folder, entry, {URL_COLUMN: is_text, self.label_column: is_number_or_text}):
                urls, labels = (_values(column) for column in batch.columns)
                for (url, is_valid), (given, _) in zip(urls, labels, strict=True):
                    if url is None or not url.strip():
                        yield KeyedRow(f"{entry.name}, row {row}", problem=NO_URL)
                    else:
                        label = self.labels.of(given, f"{folder.path(entry.name)}, row {row}")
                        yield _keyed(self.url, url, label, NO_TEXT if not is_valid else _problem(url))
                    row += 1


@functools.lru_cache(maxsize=2)
def _hidden_urls(url: str, files: Sequence[Entry]) -> KeyTable:
    """The rows of these files of a folder whose keys hide parts of their URLs; made once by each process that reads."""

    def rows() -> Iterator[KeyedRow]:
        for entry in files:
            for batch in _stream(Folder(url), entry, {URL_COLUMN: is_text}):
                found = (_keyed(url, text) for text, _ in _values(batch.column(0)) if text)
                yield from (row for row in found if is_hidden(row.key))

    return KeyTable(rows())


def _keyed(folder: str, url: str, label: int = 0, problem: str = "") -> KeyedRow:
    """A row by its URL as it is used: blanks around a whole URL don't count, and names of files hide nothing."""
    used = url.strip() if "://" in url else url
    is_name = ":" not in used and not folder.startswith(tuple(f"{scheme}://" for scheme in WEB))
    return KeyedRow(used, label, problem) if is_name else KeyedRow.of(used, label, problem)


def _problem(url: str) -> str:
    return URL_ESCAPES if ".." in url.split("/") else ""


def _stream(folder: Folder, entry: Entry, columns: Mapping[str, TypeCheck]) -> Iterator[pa.RecordBatch]:
    """A file's columns in this order."""
    if entry.name.lower().endswith(".csv"):
        return _stream_csv(folder, entry, list(columns))
    return stream_columns(folder, entry, columns, ROWS_LISTED, as_bytes=(URL_COLUMN,))


def _stream_csv(folder: Folder, entry: Entry, columns: list[str]) -> Iterator[pa.RecordBatch]:
    where = f"{folder.path(entry.name)} is no CSV file with columns {', '.join(columns)}"
    # As bytes, so that a text that is no UTF-8 costs its row alone.
    convert = csv.ConvertOptions(column_types={name: pa.binary() for name in columns}, include_columns=columns)
    parse = csv.ParseOptions(newlines_in_values=True)
    try:
        with folder.open(entry.name) as file:
            if (wrong := _wrong_header(file.read(HEADER_BYTES), columns)) is not None:
                raise BadInput(f"{where} ({wrong})")
            file.seek(0)
            for batch in csv.open_csv(file, parse_options=parse, convert_options=convert):
                yield batch.select(columns)
    except (pa.ArrowException, KeyError) as error:
        raise BadInput(f"{where} ({redact_text(one_line(error))})") from error


def _wrong_header(start: bytes, columns: list[str]) -> str | None:
    """What is wrong with the first line of a CSV file, if anything."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "it is UTF-16: write it as UTF-8"
    try:
        # By lines however they end, as Arrow reads them.
        names = next(reader(start.decode("utf-8-sig", errors="replace").splitlines(keepends=True)), [])
    except CsvError as error:
        return one_line(error)
    for column in columns:
        if names.count(column) > 1:
            return f"it has several columns {column!r}: name each once"
        if column not in names:
            parted = next((name for mark, name in _OTHER_MARKS.items() if mark in "".join(names)), None)
            hint = f": its columns are parted by {parted}, write it with commas" if parted else ""
            return f"its first line names no column {column!r}{hint}"
    return None


def _values(column: pa.Array) -> Iterator[tuple[Any, bool]]:
    """The values of a column, bytes as text, each with whether it is none of a text that is no UTF-8."""
    for value in column.to_pylist():
        text = value.decode(errors="backslashreplace") if isinstance(value, bytes) else value
        yield text, text is value or text.encode() == value


def _held_bytes(ahead: Sequence[Future[StoredImage]]) -> int:
    done = (each.result().data for each in ahead if each.done())
    return sum(len(data) for data in done if isinstance(data, bytes))
