"""Images that a table lists: CSV or Parquet files with a column `url` and one of labels."""

import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv

from bar_model.errors import BadInput, one_line
from pipeline.filesystem import Entry, forget
from pipeline.images.class_folders import READS_AT_ONCE, read_file
from pipeline.images.class_map import LabelMap
from pipeline.images.codec import BadImage
from pipeline.images.left_out import LeftOut
from pipeline.images.parquet import ROWS_LISTED, check_labels, read_schema, stream_columns
from pipeline.images.source import ListedImage, StoredImage, count_doubled
from pipeline.storage import Folder
from pipeline.tables import is_number_or_text, is_text

URL_COLUMN = "url"
URL_ESCAPES = "its path climbs out of the folder"
"""A problem of an image. Plans hold this text and are compared with it: it stays as it is."""


@dataclass(frozen=True)
class UrlList:
    """Images by their URLs, of any kind that fsspec knows. A relative URL lies below the list's folder.

    An image's key is its URL. What a URL names is taken as unchanging, as millions of URLs can't be checked one by one.
    """

    url: str
    pattern: str
    labels: LabelMap
    label_column: str

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
        folder = Folder(self.url)
        with tempfile.TemporaryDirectory() as aside:
            database = sqlite3.connect(Path(aside) / "list.sqlite")
            try:
                database.execute("CREATE TABLE images (url TEXT, label INTEGER)")
                for entry in folder.list(self.pattern, forget if left_out is None else left_out.add):
                    database.executemany("INSERT INTO images VALUES (?, ?)", self._rows(folder, entry))
                # The components of a path by their characters: U+0001 comes before any that a URL may hold.
                rows = database.execute("SELECT url, label FROM images ORDER BY replace(url, '/', char(1)), rowid")
                yield from count_doubled(ListedImage(url, label, 0, "", problem=_problem(url)) for url, label in rows)
            finally:
                database.close()

    def read(self, listed: Sequence[ListedImage]) -> Iterator[StoredImage]:
        """The bytes of these images, several read at once."""
        with ThreadPoolExecutor(READS_AT_ONCE) as pool:
            yield from pool.map(self._stored, listed)

    def _stored(self, image: ListedImage) -> StoredImage:
        directory, _, name = image.key.rpartition("/")
        is_whole = "://" in image.key or image.key.startswith("/")
        folder = Folder(directory if is_whole else self.url)
        data = _read(folder, name if is_whole else image.key)
        return StoredImage(image.key, image.label, image.key, data)

    def _rows(self, folder: Folder, entry: Entry) -> Iterator[tuple[str, int]]:
        row = 0
        for batch in self._batches(folder, entry):
            for url, given in zip(*(batch.column(place).to_pylist() for place in range(2)), strict=True):
                where = f"{folder.path(entry.name)}, row {row}"
                if not url:
                    raise BadInput(f"{where} has no URL: add it, or remove the row")
                yield url, self.labels.of(given, where)
                row += 1

    def _batches(self, folder: Folder, entry: Entry) -> Iterator[pa.RecordBatch]:
        columns = [URL_COLUMN, self.label_column]
        if not entry.name.lower().endswith(".csv"):
            wanted = {URL_COLUMN: is_text, self.label_column: is_number_or_text}
            yield from stream_columns(folder, entry, wanted, ROWS_LISTED)
            return
        where = folder.path(entry.name)
        convert = csv.ConvertOptions(column_types={name: pa.string() for name in columns}, include_columns=columns)
        try:
            with folder.open(entry.name) as file:
                parse = csv.ParseOptions(newlines_in_values=True)
                yield from csv.open_csv(file, parse_options=parse, convert_options=convert)
        except (pa.ArrowException, KeyError) as error:
            raise BadInput(f"{where} is no CSV file with columns {', '.join(columns)} ({one_line(error)})") from error


def _problem(url: str) -> str:
    return URL_ESCAPES if ".." in url.split("/") else ""


def _read(folder: Folder, name: str) -> bytes | BadImage:
    try:
        return read_file(folder, name)
    except Exception as error:
        # An answer of a web server about this image alone. "Try again later" is none, and ends the run.
        status = getattr(error, "status", None)
        if status is None or not 400 <= status < 500 or status in (408, 425, 429):
            raise
        return BadImage(f"can't be read (status {status})")
