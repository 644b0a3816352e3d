"""Pictures that a table lists: CSV or Parquet files with a column `url` and one of labels."""

import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv

from bar_model.errors import BadInput
from pipeline.images.class_folders import READS_AT_ONCE, read_file
from pipeline.images.codec import BadImage
from pipeline.images.parquet import check_labels, read_schema, stream_columns
from pipeline.images.source import LabelMap, ListedImage, StoredImage, count_doubled
from pipeline.storage import Entry, Folder
from pipeline.tables import is_number_or_text, is_text

URL_COLUMN = "url"
ROWS_LISTED = 8192


@dataclass(frozen=True)
class UrlList:
    """A picture's key is its URL, of any kind that fsspec knows; a relative one lies below the list's folder.

    What lies behind a URL is taken as unchanging: a list of millions is not asked for one by one.
    """

    url: str
    pattern: str
    labels: LabelMap
    label_column: str

    @staticmethod
    def open(folder: Folder, pattern: str, labels: LabelMap, label_column: str) -> "UrlList | None":
        """None where a Parquet file has no column `url`."""
        name = folder.list(pattern)[0].name
        if name.endswith(".parquet"):
            schema = read_schema(folder, name)
            if URL_COLUMN not in schema.names:
                return None
            check_labels(schema, label_column, folder.path(name))
        return UrlList(folder.url, pattern, labels, label_column)

    @property
    def identity(self) -> dict[str, Any]:
        columns = {"label_column": self.label_column}
        return {"kind": "URL list", "url": f"{self.url}/{self.pattern}", **columns, **self.labels.identity}

    def listing(self) -> Iterator[ListedImage]:
        """Sorts the list in a database on the local disk, which costs no memory."""
        folder = Folder(self.url)
        with tempfile.TemporaryDirectory() as aside:
            database = sqlite3.connect(Path(aside) / "list.sqlite")
            try:
                database.execute("CREATE TABLE pictures (url TEXT, label INTEGER)")
                for entry in folder.list(self.pattern):
                    database.executemany("INSERT INTO pictures VALUES (?, ?)", self._rows(folder, entry))
                # The components of a path by their characters: U+0001 comes before any that a URL may hold.
                rows = database.execute("SELECT url, label FROM pictures ORDER BY replace(url, '/', char(1)), rowid")
                yield from count_doubled(ListedImage(url, label, 0, "", problem=_problem(url)) for url, label in rows)
            finally:
                database.close()

    def read(self, pictures: Sequence[ListedImage]) -> Iterator[StoredImage]:
        with ThreadPoolExecutor(READS_AT_ONCE) as pool:
            yield from pool.map(self._item, pictures)

    def _item(self, picture: ListedImage) -> StoredImage:
        directory, _, name = picture.key.rpartition("/")
        is_whole = "://" in picture.key or picture.key.startswith("/")
        folder = Folder(directory if is_whole else self.url)
        data = _read(folder, name if is_whole else picture.key)
        return StoredImage(picture.key, picture.label, picture.key, data)

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
        if not entry.name.endswith(".csv"):
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
            message = " ".join(str(error).split())
            raise BadInput(f"{where} is no CSV file with columns {', '.join(columns)} ({message})") from error


def _problem(url: str) -> str:
    return "its path climbs out of the folder" if ".." in url.split("/") else ""


def _read(folder: Folder, name: str) -> bytes | BadImage:
    try:
        return read_file(folder, name)
    except Exception as error:
        # What a web server says of this picture alone; "try again later" is not of that kind, and ends the run.
        status = getattr(error, "status", None)
        if status is None or not 400 <= status < 500 or status in (408, 425, 429):
            raise
        return BadImage(f"can't be read (status {status})")
