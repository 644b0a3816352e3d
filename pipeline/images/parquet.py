"""Images in Parquet files: a struct of `bytes` and `path`, as data sets lie on the hub, or plain bytes; a label."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bar_model.errors import BadInput
from pipeline.filesystem import Entry, forget
from pipeline.images.class_map import LabelMap
from pipeline.images.codec import BadImage
from pipeline.images.left_out import LeftOut, printable
from pipeline.images.source import ListedImage, StoredImage
from pipeline.storage import Folder
from pipeline.tables import TypeCheck, check_types, damage_of, is_bytes, is_number_or_text, is_text, open_parquet

ROWS_LISTED, ROWS_READ = 8192, 64
READ_AHEAD_BYTES = 1 << 20
PLAIN_NAMES = frozenset({"image", "img", "picture", "photo", "jpg", "jpeg", "png", "webp", "image_bytes"})
"""Names of columns of plain bytes that are taken for images without being named, whatever their case."""
OPTION = "--image-column"


@dataclass(frozen=True)
class ParquetImages:
    """Files of a folder by a pattern, in the order of their names. An image's key is FILE/ROW, counted from 0."""

    url: str
    pattern: str
    labels: LabelMap
    label_column: str
    image_column: str

    @staticmethod
    def open(
        folder: Folder, pattern: str, labels: LabelMap, label_column: str, image_column: str | None
    ) -> "ParquetImages | None":
        """The source of a folder's files; None where they have no column of images.

        Raises:
            BadInput: they have several such columns, not the one that is asked for, or no column of labels.
        """
        entry = folder.list(pattern)[0]
        schema, where = read_schema(folder, entry.name), folder.path(entry.name)
        chosen = image_column or _only_image_column(schema, where)
        if chosen is None:
            return None
        _check_images(schema, chosen, where)
        check_labels(schema, label_column, where)
        return ParquetImages(folder.url, pattern, labels, label_column, chosen)

    @property
    def identity(self) -> dict[str, Any]:
        """The kind, the files, their columns and the class map, as JSON values."""
        columns = {"image_column": self.image_column, "label_column": self.label_column}
        return {"kind": "Parquet", "url": f"{self.url}/{self.pattern}", **columns, **self.labels.identity}

    @property
    def summary(self) -> str:
        """The number of files and the columns that are read."""
        num = len(Folder(self.url).list(self.pattern))
        columns = f"images {self.image_column!r} and labels {self.label_column!r}"
        return f"{printable(self.url)}/{self.pattern}: {num:,} Parquet files, columns of {columns}"

    def listing(self, left_out: LeftOut | None = None) -> Iterator[ListedImage]:
        """All images, file by file and row by row; reads the labels alone. `left_out` counts what is no file."""
        folder = Folder(self.url)
        wanted = {self.label_column: is_number_or_text}
        for entry in folder.list(self.pattern, forget if left_out is None else left_out.add):
            row = 0
            for batch in stream_columns(folder, entry, wanted, ROWS_LISTED, also={self.image_column: is_image}):
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
                _check_images(table.schema_arrow, self.image_column, where)
                for row, data, path in self._rows(table, min(wanted), max(wanted) + 1):
                    if row in wanted:
                        place = f"{where}, row {row}" + (f" ({path})" if path else "")
                        yield StoredImage(wanted[row].key, wanted[row].label, place, data)

    def _rows(self, table: pq.ParquetFile, start: int, end: int) -> Iterator[tuple[int, bytes | BadImage, str]]:
        """The rows of all row groups that hold one from `start` to `end`; what is damaged of a group is bad images."""
        fields = _fields(table.schema_arrow.field(self.image_column))
        first = 0
        for group in range(table.num_row_groups):
            after = first + table.metadata.row_group(group).num_rows
            if first < end and start < after:
                row, why = first, "it holds too few rows"
                try:
                    for batch in table.iter_batches(ROWS_READ, row_groups=[group], columns=fields):
                        for data, path in _values(batch.column(self.image_column)):
                            yield row, data, path
                            row += 1
                except (pa.ArrowException, OSError) as error:
                    why = damage_of(error)
                damaged = BadImage(f"can't be read: its row group is damaged ({why})")
                yield from ((bad, damaged, "") for bad in range(row, after))
            first = after


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
    folder: Folder,
    entry: Entry,
    columns: Mapping[str, TypeCheck],
    rows: int,
    *,
    also: Mapping[str, TypeCheck] | None = None,
    as_bytes: Sequence[str] = (),
) -> Iterator[pa.RecordBatch]:
    """A Parquet file's columns in this order, `rows` rows at a time; `also` are columns that are only checked.

    Columns of texts come `as_bytes` where one that is no UTF-8 must not end the reading.

    Raises:
        BadInput: the file lacks one or has it as another type, or is no whole Parquet file.
    """
    where = folder.path(entry.name)
    with (
        folder.open(entry.name, read_ahead=READ_AHEAD_BYTES) as file,
        open_parquet(file, where) as table,
    ):
        check_types(table.schema_arrow, {**columns, **(also or {})}, where)
        row = 0
        try:
            for batch in table.iter_batches(rows, columns=list(columns)):
                for name in as_bytes:
                    batch = _with_bytes(batch, name)
                batch.validate(full=True)
                row += len(batch)
                yield batch.select(list(columns))
        except (pa.ArrowException, OSError) as error:
            raise BadInput(f"{where} is damaged ({damage_of(error)}): restore it") from error
        if row != table.metadata.num_rows:
            raise BadInput(f"{where} is damaged: it holds {row} of {table.metadata.num_rows} rows; restore it")


def _with_bytes(batch: pa.RecordBatch, name: str) -> pa.RecordBatch:
    texts = batch.column(name)
    plain = texts.dictionary_decode() if pa.types.is_dictionary(texts.type) else texts
    return batch.set_column(batch.schema.get_field_index(name), name, plain.cast(pa.large_binary()))


def is_image(kind: pa.DataType) -> bool:
    """Whether values can be images: bytes, or a struct with a field `bytes`."""
    return is_bytes(kind) or (pa.types.is_struct(kind) and "bytes" in _wanted(kind))


def _only_image_column(schema: pa.Schema, where: str) -> str | None:
    """The one column of images; structs of `bytes` come before columns of plain bytes that are named as images are."""
    structs = [field.name for field in schema if is_image(field.type) and not is_bytes(field.type)]
    plain = [field.name for field in schema if is_bytes(field.type) and field.name.lower() in PLAIN_NAMES]
    found = structs or plain
    if len(found) > 1:
        raise BadInput(f"{where} has several columns of images, {', '.join(found)}: choose one with {OPTION}")
    return found[0] if found else None


def _check_images(schema: pa.Schema, column: str, where: str) -> None:
    if column not in schema.names:
        there = ", ".join(field.name for field in schema if is_image(field.type)) or "none"
        raise BadInput(f"{where} has no column {column!r}: choose one with {OPTION} (columns of images: {there})")
    check_types(schema, {column: is_image}, where)


def _fields(image: pa.Field) -> list[str]:
    return [image.name] if is_bytes(image.type) else [f"{image.name}.{name}" for name in _wanted(image.type)]


def _wanted(kind: pa.StructType) -> list[str]:
    """The fields of an image that are read, as far as they are there and of the type that they should have."""
    checks = {"bytes": is_bytes, "path": is_text}
    return [field.name for field in kind if field.name in checks and checks[field.name](field.type)]


def _values(column: pa.Array) -> Iterator[tuple[bytes | BadImage, str]]:
    """Bytes and path of each image, of which one or both may be missing."""
    if not pa.types.is_struct(column.type):
        yield from ((BadImage("holds no bytes") if data is None else data, "") for data in column.to_pylist())
        return
    paths: list[bytes | None] = [None] * len(column)
    if column.type.get_field_index("path") >= 0:
        texts = column.field("path")
        plain = texts.dictionary_decode() if pa.types.is_dictionary(texts.type) else texts
        paths = plain.cast(pa.large_binary()).to_pylist()  # Arrow does not check that a text is UTF-8.
    for value, valid, path in zip(column.field("bytes").to_pylist(), column.is_valid().to_pylist(), paths, strict=True):
        name = path.decode(errors="backslashreplace") if path is not None and valid else ""
        if value is not None and valid:
            yield value, name
        elif name:
            yield BadImage("holds no bytes, only a path to a file elsewhere: write the images into the table"), name
        else:
            yield BadImage("holds no bytes"), name
