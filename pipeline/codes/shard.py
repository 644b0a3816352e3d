"""A code shard: the bits of a unit's images in one Parquet file, a row an image, with metadata in its schema."""

import base64
import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int32, UInt8

from bar_model.bits import CodeShape
from bar_model.errors import BadInput, interpreting
from pipeline.execution.manifest import Quarantined
from pipeline.execution.records import Records
from pipeline.execution.unit import Contents, Row
from pipeline.images.read import DIGEST_BYTES
from pipeline.storage import Folder
from pipeline.tables import open_parquet, read_parquet

FORMAT = 1
METADATA, QUARANTINED, CONTENTS, CHECKSUM = b"bar.codes", b"bar.quarantined", b"bar.contents", b"bar.checksum"
NOTES_BYTES = 1 << 16
"""Fetched at a time of a shard whose footer is read: the footer of 512 images, and more."""
LIBRARIES = ("torch", "transformers", "pillow", "numpy", "pyarrow")


@dataclass(frozen=True, kw_only=True)
class CodeMetadata:
    """What every shard says of its codes. Codes can be trained on together if these are equal, `libraries` aside."""

    bits: int
    grid: int
    views: tuple[str, ...]
    image_size: int
    crop_rule: str
    tokenizer: str
    """Fingerprint of the tokenizer's weights."""
    libraries: dict[str, str] = field(
        default_factory=lambda: {name: version(name) for name in LIBRARIES}, compare=False
    )

    @property
    def shape(self) -> CodeShape:
        """The shape of the code of one view."""
        return CodeShape(grid=self.grid, bits=self.bits)

    @property
    def num_bytes(self) -> int:
        """The bytes of an image's codes: all views, each padded to a whole byte."""
        return len(self.views) * self.shape.num_bytes

    @property
    def identity(self) -> dict[str, Any]:
        """All fields but the libraries, as JSON values."""
        return {name: value for name, value in asdict(self).items() if name != "libraries"}

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "CodeMetadata":
        """The metadata that JSON values describe.

        Raises:
            KeyError, TypeError: they describe none.
        """
        metadata = cls(**{**fields, "views": tuple(fields["views"])})
        if not all(type(number) is int for number in (metadata.bits, metadata.grid, metadata.image_size)):
            raise TypeError("bits, grid and image size are whole numbers")
        if not all(isinstance(text, str) for text in (metadata.crop_rule, metadata.tokenizer, *metadata.views)):
            raise TypeError("crop rule, tokenizer and views are strings")
        _ = metadata.num_bytes
        return metadata

    def to_json(self) -> str:
        """The metadata as it stands in a shard's schema."""
        return json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, document: str | bytes, where: str) -> "CodeMetadata":
        """The metadata of the shard `where`; the inverse of `to_json`.

        Raises:
            BadInput: it is damaged or of another format.
        """
        with interpreting(f"{where} is no code shard, or damaged", "restore it, or tokenize the images anew"):
            fields = json.loads(document)
            found = fields.pop("format")
            if found != FORMAT:
                raise BadInput(
                    f"{where} has code format {found}, but this version reads {FORMAT}: update this software"
                )
            return cls.of(fields)


class Shard(NamedTuple):
    """What one file holds. `codes` has the views of an image one after the other, each padded to a whole byte."""

    keys: list[str]
    labels: Int32[np.ndarray, "rows"]
    codes: UInt8[np.ndarray, "rows bytes"]
    metadata: CodeMetadata
    quarantined: tuple[Quarantined, ...] = ()
    contents: bytes = b""
    """Digests of the stored bytes of all images of the unit, quarantined ones included; none in older shards."""

    def without(self, dropped: Collection[str]) -> "Shard":
        """The shard without the rows of these keys."""
        gone = set(dropped)
        kept = [row for row, key in enumerate(self.keys) if key not in gone]
        if len(kept) == len(self.keys):
            return self
        keys = [self.keys[row] for row in kept]
        return self._replace(keys=keys, labels=self.labels[kept], codes=self.codes[kept])


class ShardNotes(NamedTuple):
    """What the footer of a shard says of its images."""

    quarantined: tuple[Quarantined, ...] = ()
    contents: bytes = b""


def encode_shard(shard: Shard) -> bytes:
    """The content of a shard's file: the same bytes for the same rows."""
    keys, labels, codes, metadata, quarantined, contents = shard
    if codes.shape != (len(keys), metadata.num_bytes) or labels.shape != (len(keys),):
        raise ValueError(f"{len(keys)} keys, labels {labels.shape}, codes {codes.shape} of {metadata.num_bytes} bytes")
    schema = _schema(
        metadata, {METADATA: metadata.to_json(), QUARANTINED: json.dumps(Quarantined.to_rows(quarantined))}
    )
    buffers = [None, pa.py_buffer(np.ascontiguousarray(codes))]
    binary = pa.FixedSizeBinaryArray.from_buffers(schema.field("codes").type, len(keys), buffers)
    table = pa.table([pa.array(keys, pa.string()), pa.array(labels, pa.int32()), binary], schema=schema)
    file = pa.BufferOutputStream()
    options: dict[str, Any] = {
        # Codes are nearly random: compressing them costs time and gains nothing.
        "compression": {"key": "zstd", "label": "zstd", "codes": "none"},
        "use_dictionary": ["label"],
        "write_statistics": False,
    }
    with pq.ParquetWriter(file, schema, **options) as writer:
        writer.write_table(table)
        if contents:
            # Beside the schema: what is in the schema's metadata stands in the file twice.
            writer.add_key_value_metadata({CONTENTS: base64.b64encode(contents), CHECKSUM: _checksum(shard)})
    return file.getvalue().to_pybytes()


def decode_shard(data: bytes, where: str) -> Shard:
    """The shard that a file holds; the inverse of `encode_shard`.

    Raises:
        BadInput: the file, `where`, is no whole shard.
    """
    table = read_parquet(data, where, kind="code shard")
    texts = table.schema.metadata or {}
    notes = _notes_of(texts, where)
    metadata = CodeMetadata.from_json(texts.get(METADATA, b""), where)
    if not table.schema.equals(_schema(metadata, {})):
        raise BadInput(f"{where} has columns {table.schema.names} of other types than code shards have")
    column = table.column("codes").combine_chunks()
    buffer = column.buffers()[1] if len(table) else b""
    codes = np.frombuffer(buffer, np.uint8).reshape(-1, metadata.num_bytes)[: len(table)]
    labels = table.column("label").to_numpy()
    if len(notes.contents) not in (0, DIGEST_BYTES * (len(labels) + len(notes.quarantined))):
        raise BadInput(f"{where} has digests of more or fewer images than it is of: it is damaged")
    shard = Shard(table.column("key").to_pylist(), labels, codes, metadata, *notes)
    if texts.get(CHECKSUM, checksum := _checksum(shard)) != checksum:
        raise BadInput(f"{where} is damaged (its checksum differs): restore it, or remove it and run again")
    return shard


def read_notes(folder: Folder, name: str) -> ShardNotes:
    """The notes of a shard, from its footer alone.

    Raises:
        BadInput: the file is no shard.
        FileNotFoundError: there is no such file.
    """
    where = folder.path(name)
    with folder.open(name, read_ahead=NOTES_BYTES) as file, open_parquet(file, where, kind="code shard") as table:
        return _notes_of(table.metadata.metadata or {}, where)


def pack_rows(metadata: CodeMetadata, row: Row) -> bytes:
    """The content of a shard's file from a row: `codes` (N, bytes) uint8 and `records` (JSON of `Records`).

    `contents` (images of the unit, 8) uint8 are the digests of what they were made from, if they are known.
    """
    records = Records.from_json(row["records"])
    codes = np.asarray(row["codes"], np.uint8).reshape(len(records.keys), metadata.num_bytes)
    labels = np.array(records.labels, np.int32)
    contents = np.asarray(row["contents"], np.uint8).tobytes() if "contents" in row else b""
    return encode_shard(Shard(list(records.keys), labels, codes, metadata, tuple(records.quarantined), contents))


def inspect_shard(data: bytes) -> Contents:
    """What the content of a shard's file says of itself.

    Raises:
        BadInput: the file is no whole shard.
    """
    shard = decode_shard(data, "the shard")
    return Contents(len(shard.keys), shard.quarantined)


def check_shard(metadata: CodeMetadata, data: bytes) -> None:
    """Checks that a shard that was found has the codes that are to be made.

    Raises:
        BadInput: it is damaged, or its codes are of another tokenizer or shape.
    """
    if decode_shard(data, "the shard").metadata != metadata:
        raise BadInput("its codes are of another tokenizer, or of other views or sizes")


def _checksum(shard: Shard) -> bytes:
    """A checksum of a shard's rows and notes, as long as no manifest has one of its file."""
    digest = hashlib.blake2b(json.dumps([shard.keys, Quarantined.to_rows(shard.quarantined)]).encode(), digest_size=16)
    for values in (shard.labels.astype("<i4").tobytes(), shard.codes.tobytes(), shard.contents):
        digest.update(values)
    return digest.hexdigest().encode()


def _notes_of(texts: Mapping[bytes, bytes], where: str) -> ShardNotes:
    with interpreting(f"{where} is no code shard, or damaged", "restore it, or tokenize the images anew"):
        contents = base64.b64decode(texts.get(CONTENTS, b""), validate=True)
        return ShardNotes(Quarantined.from_rows(json.loads(texts[QUARANTINED])), contents)


def _schema(metadata: CodeMetadata, notes: dict) -> pa.Schema:
    fields = [("key", pa.string()), ("label", pa.int32()), ("codes", pa.binary(metadata.num_bytes))]
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in fields], metadata=notes)
