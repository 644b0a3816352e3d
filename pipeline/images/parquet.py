"""Images in Parquet files, as data sets lie on the Hugging Face hub: a struct of `bytes` and `path`, and a label."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bar_model.errors import BadInput, one_line
from pipeline.filesystem import Entry, forget
from pipeline.images.class_map import LabelMap
from pipeline.images.codec import BadImage
from pipeline.images.left_out import LeftOut
from pipeline.images.source import ListedImage, StoredImage
from pipeline.storage import Folder
from pipeline.tables import TypeCheck, check_types, is_bytes, is_number_or_text, is_text, open_parquet

ROWS_LISTED, ROWS_READ = 8192, 64
READ_AHEAD_BYTES = 1 << 20


@dataclass(frozen=True)
class ParquetImages:
    """Files of a folder by a pattern, in the order of their names. An image's key is FILE/ROW, counted from 0."""

    url: str
    pattern: str
    labels: LabelMap
    label_column: str
    image_column: str

    @staticmethod
    def open(folder: Folder, pattern: str, labels: LabelMap, label_column: str) -> "ParquetImages | None":
        """The source of a folder's files; None where they have no column of images.

        Raises:
            BadInput: they have several such columns, or no column of labels.
        """
        entry = folder.list(pattern)[0]
        schema = read_schema(folder, entry.name)
        images = [field.name for field in schema if _is_image(field.type)]
        if not images:
            return None
        if len(images) > 1:
            raise BadInput(
                f"{folder.path(entry.name)} has several columns of images, {', '.join(images)}: keep one of them"
            )
        check_labels(schema, label_column, folder.path(entry.name))
        return ParquetImages(folder.url, pattern, labels, label_column, images[0])

    @property
    def identity(self) -> dict[str, Any]:
        """The kind, the files, their columns and the class map, as JSON values."""
        columns = {"image_column": self.image_column, "label_column": self.label_column}
        return {"kind": "Parquet", "url": f"{self.url}/{self.pattern}", **columns, **self.labels.identity}

    def listing(self, left_out: LeftOut | None = None) -> Iterator[ListedImage]:
        """All images, file by file and row by row; reads the labels alone. `left_out` counts what is no file."""
        folder = Folder(self.url)
        for entry in folder.list(self.pattern, forget if left_out is None else left_out.add):
            row = 0
            for batch in stream_columns(folder, entry, {self.label_column: is_number_or_text}, ROWS_LISTED):
                for given in batch.column(0).to_pylist():
                    key = f"{entry.name}/{row:09d}"
                    label = self.labels.of(given, f"{folder.path(entry.name)}, row {row}")
                    yield ListedImage(key, label, 0, entry.version, at=row)
                    row += 1

    def read(self, listed: Sequence[ListedImage]) -> Iterator[StoredImage]:
        """The bytes of these images; reads only the row groups that hold them."""
        folder = Folder(self.url)
        for name, rows in groupby(listed, key=lambda image: image.key.rpartition("/")[0]):
            wanted = {image.at: image for image in rows}
            where = folder.path(name)
            with (
                folder.open(name, read_ahead=READ_AHEAD_BYTES) as file,
                open_parquet(file, where, pre_buffer=True) as table,
            ):
                check_types(table.schema_arrow, {self.image_column: _is_image}, where)
                for row, image in self._rows(table, min(wanted), max(wanted) + 1):
                    if row in wanted:
                        yield _stored_image(where, wanted[row], image)

    def _rows(self, table: pq.ParquetFile, start: int, end: int) -> Iterator[tuple[int, dict[str, Any] | None]]:
        fields = [f"{self.image_column}.{name}" for name in _wanted(table.schema_arrow.field(self.image_column).type)]
        first = 0
        for group in range(table.num_row_groups):
            rows = table.metadata.row_group(group).num_rows
            if first < end and start < first + rows:
                row = first
                for batch in table.iter_batches(ROWS_READ, row_groups=[group], columns=fields):
                    yield from enumerate(batch.column(self.image_column).to_pylist(), row)
                    row += len(batch)
            first += rows


def read_schema(folder: Folder, name: str) -> pa.Schema:
    """The schema of one Parquet file of a folder.

    Raises:
        BadInput: it is no Parquet file.
    """
    with folder.open(name, read_ahead=READ_AHEAD_BYTES) as file, open_parquet(file, folder.path(name)) as table:
        return table.schema_arrow


def check_labels(schema: pa.Schema, column: str, where: str) -> None:
    """Checks that the schema has a column of labels, of a type that labels can have.

    Raises:
        BadInput: the column is missing or of another type.
    """
    if column not in schema.names:
        raise BadInput(f"{where} has no column {column!r}: name the column of labels with --label-column")
    check_types(schema, {column: is_number_or_text}, where)


def stream_columns(
    folder: Folder, entry: Entry, columns: Mapping[str, TypeCheck], rows: int
) -> Iterator[pa.RecordBatch]:
    """A Parquet file's columns in this order, `rows` rows at a time.

    Raises:
        BadInput: the file lacks one or has it as another type, or is no whole Parquet file.
    """
    where = folder.path(entry.name)
    try:
        with (
            folder.open(entry.name, read_ahead=READ_AHEAD_BYTES) as file,
            open_parquet(file, where) as table,
        ):
            check_types(table.schema_arrow, columns, where)
            for batch in table.iter_batches(rows, columns=list(columns)):
                yield batch.select(list(columns))
    except pa.ArrowException as error:
        raise BadInput(f"{where} is damaged ({one_line(error)}): restore it") from error


def _is_image(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind) and "bytes" in _wanted(kind)


def _wanted(kind: pa.StructType) -> list[str]:
    """The fields of an image that are read, as far as they are there and of the type that they should have."""
    checks = {"bytes": is_bytes, "path": is_text}
    return [field.name for field in kind if field.name in checks and checks[field.name](field.type)]


def _stored_image(file: str, listed: ListedImage, value: dict[str, Any] | None) -> StoredImage:
    data = value["bytes"] if value is not None else None
    path = value.get("path") if value is not None else None
    where = f"{file}, row {listed.at}" + (f" ({path})" if path else "")
    return StoredImage(listed.key, listed.label, where, BadImage("holds no bytes") if data is None else data)
