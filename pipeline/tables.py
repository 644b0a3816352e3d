"""The only way in which this project opens Parquet files, so that no code in a file ever runs.

Arrow lets a library register extension types, whose Python code then turns stored bytes into values. Ray Data registers
one that unpickles them, and a process that has imported Ray Data does so for any column that a file declares to be of
that type. So a file that declares any extension type is refused by the bytes of its footer, before Arrow sees them:
opening alone already calls into the registered type.
"""

import base64
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from bar_model.errors import BadInput, one_line

TypeCheck = Callable[[pa.DataType], bool]

_MAGIC = b"PAR1"
_LENGTH_BYTES = 4


def _in_base64(text: bytes) -> tuple[bytes, ...]:
    """The base64 of a text inside of a longer one: one of three, by where it begins in a group of three bytes."""
    ways = []
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + text)
        # The characters at both ends also depend on what stands beside the text.
        ways.append(encoded[-(-8 * before // 6) : 8 * (before + len(text)) // 6])
    return tuple(ways)


_EXTENSION_MARKS = _in_base64(b"ARROW:extension:name")
"""Arrow keeps its own schema in the footer, base64 of a flatbuffer, where this key names a field's extension type."""


def open_parquet(
    file: BinaryIO | pa.NativeFile, where: str, *, kind: str = "Parquet file", pre_buffer: bool = False
) -> pq.ParquetFile:
    """A Parquet file whose columns are all of plain types, ready to be read; messages call it a `kind`.

    Raises:
        BadInput: `where` is no Parquet file, is damaged, or declares an extension type, at any depth.
    """
    footer = _read_footer(file, where, kind)
    if any(mark in footer for mark in _EXTENSION_MARKS):
        raise BadInput(
            f"{where} declares an Arrow extension type, which could run code when it is read: write the file again "
            "with plain columns (numbers, strings, binary, structs, lists)"
        )
    file.seek(0)
    try:
        table = pq.ParquetFile(
            file, pre_buffer=pre_buffer, page_checksum_verification=True, arrow_extensions_enabled=False
        )
    except (pa.ArrowException, OSError, ValueError) as error:  # A name of a column that is no UTF-8 is a ValueError.
        raise BadInput(f"{where} is no {kind}, or damaged ({damage_of(error)})") from error
    for field in table.schema_arrow:
        if not is_plain(field.type):
            table.close()
            raise BadInput(f"{where}: column {field.name!r} is of the extension type {field.type}, which is not read")
    return table


def read_parquet(data: bytes, where: str, *, kind: str = "Parquet file") -> pa.Table:
    """The table of a Parquet file whose content is in memory.

    Raises:
        BadInput: the content is no whole Parquet file, or declares an extension type.
    """
    with open_parquet(pa.BufferReader(data), where, kind=kind) as table:
        try:
            found = table.read(use_threads=False)
            found.validate(full=True)  # Reading alone takes any bytes for text.
        except (pa.ArrowException, OSError) as error:
            raise BadInput(f"{where} is no {kind}, or damaged ({damage_of(error)})") from error
        if len(found) != table.metadata.num_rows:
            raise BadInput(f"{where} is damaged: it holds {len(found)} of {table.metadata.num_rows} rows")
        return found


def damage_of(error: Exception) -> str:
    """What Arrow says of a file that it can't read, in one line.

    Raises:
        OSError: it is no damage, but the answer of the operating system or of a store that the file can't be read now.
    """
    if isinstance(error, OSError) and not isinstance(error, pa.ArrowException) and error.errno is not None:
        raise error
    return one_line(error)


def check_types(schema: pa.Schema, wanted: Mapping[str, TypeCheck], where: str) -> None:
    """Checks that each column is there once and of a type that its reader knows.

    Raises:
        BadInput: a column is missing, is there twice, or is of another type.
    """
    for column, is_wanted in wanted.items():
        if schema.names.count(column) != 1:
            found = "several columns" if column in schema.names else "no column"
            raise BadInput(f"{where} has {found} {column!r}")
        if not is_wanted(schema.field(column).type):
            raise BadInput(f"{where}: column {column!r} is of type {schema.field(column).type}, which is not read")


def is_plain(kind: pa.DataType) -> bool:
    """Whether no part of a type is an extension type."""
    if isinstance(kind, pa.BaseExtensionType):
        return False
    return all(is_plain(part) for part in _parts(kind))


def is_text(kind: pa.DataType) -> bool:
    """Whether values are strings, in any of Arrow's layouts, dictionary-encoded ones included."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def is_bytes(kind: pa.DataType) -> bool:
    """Whether values are byte strings of any length, in any of Arrow's layouts."""
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)


def is_number_or_text(kind: pa.DataType) -> bool:
    """Whether values are numbers, truth values, strings, or missing: what a label may be stored as."""
    return is_text(kind) or any(
        check(kind.value_type if pa.types.is_dictionary(kind) else kind)
        for check in (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)
    )


def _parts(kind: pa.DataType) -> Iterator[pa.DataType]:
    """The types that a nested, dictionary-encoded or run-end encoded type is made of."""
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        yield kind.value_type
    for place in range(kind.num_fields):
        yield kind.field(place).type


def _read_footer(file: BinaryIO | pa.NativeFile, where: str, kind: str) -> bytes:
    """The metadata at the end of a file, as it is stored: the last eight bytes are its length and the magic number."""
    size = file.seek(0, 2)
    ending = _LENGTH_BYTES + len(_MAGIC)
    file.seek(max(0, size - ending))
    tail = file.read(ending)
    length = int.from_bytes(tail[:_LENGTH_BYTES], "little")
    if tail[_LENGTH_BYTES:] != _MAGIC or length > size - ending - len(_MAGIC):
        raise BadInput(f"{where} is no {kind}, or damaged (it does not end with a whole footer)")
    file.seek(size - ending - length)
    return file.read(length)
