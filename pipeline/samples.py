"""Sample shards: drawn pictures and their codes in Parquet files, a row an image, and how all of them were drawn."""

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int32, Int64, UInt8
from PIL import Image

from bar_model.bits import CodeShape
from bar_model.configuration import from_dict
from bar_model.errors import BadInput
from bar_model.sampling import Sampling
from pipeline.images import to_png
from pipeline.manifest import FileEntry, Manifest
from pipeline.storage import Folder
from pipeline.units import Contents

FORMAT = 1
STAGE = "sample"
PIXEL_RULE = "(x + 1) / 2 clamped to [0, 1], · 255 truncated"
_METADATA = b"bar.samples"
_LIBRARIES = ("torch", "numpy", "pillow", "pyarrow")


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """How samples were drawn: with an image's index, all that determines its pixels."""

    generator: str
    """Fingerprint of the generator's weights; so is `tokenizer`."""
    tokenizer: str
    codes: CodeShape
    image_size: int
    seed: int
    labels: tuple[int, ...]
    """Image i is of class labels[i mod their number]."""
    sampling: Sampling
    batch_size: int
    precision: str
    device: str
    pixel_rule: str = PIXEL_RULE

    def label_of(self, indices: Int64[np.ndarray, " images"]) -> Int32[np.ndarray, " images"]:
        return np.array(self.labels, np.int32)[indices % len(self.labels)]


class Samples(NamedTuple):
    """Drawn pictures by image index, with the class that was asked for; `codes` packed eight bits a byte."""

    indices: Int64[np.ndarray, " images"]
    labels: Int32[np.ndarray, " images"]
    images: UInt8[np.ndarray, "images height width 3"]
    codes: UInt8[np.ndarray, "images bytes"]


@dataclass(frozen=True)
class SampleFolder:
    """A finished folder of samples, read against its manifest."""

    folder: Folder
    manifest: Manifest

    @classmethod
    def open(cls, url: str) -> "SampleFolder":
        """BadInput where there is no folder of samples."""
        folder = Folder(url)
        manifest = Manifest.read(folder)
        if manifest.stage != STAGE:
            raise BadInput(f"{folder.url} was made by the stage {manifest.stage!r}: give a folder of samples")
        return cls(folder, manifest)

    @cached_property
    def drawing(self) -> Drawing:
        return from_dict(Drawing, self.manifest.configuration["drawing"], self.folder.path(self.manifest.name))

    def shards(self) -> Iterator[Samples]:
        """One shard after another, by image index; BadInput where one is missing or is not the manifest's."""
        for file in self.manifest.files:
            yield decode_samples(self._checked(file), self.folder.path(file.name))

    def read(self) -> Samples:
        """All samples, in memory."""
        return Samples(*map(np.concatenate, zip(*self.shards(), strict=True)))

    def _checked(self, file: FileEntry) -> bytes:
        where = self.folder.path(file.name)
        try:
            data = self.folder.read(file.name)
        except FileNotFoundError as error:
            raise BadInput(f"{where} is missing: draw the samples again, which makes what is missing") from error
        if hashlib.sha256(data).hexdigest() != file.sha256:
            raise BadInput(f"{where} is not the file that the manifest names (its checksum differs): restore it")
        return data


def read_samples(url: str) -> Samples:
    """All samples of a folder, in memory; BadInput where they are not all there."""
    return SampleFolder.open(url).read()


def encode_samples(samples: Samples, drawing: Drawing) -> bytes:
    """A shard as the bytes of its file: the same bytes for the same samples."""
    num, num_bytes = samples.codes.shape
    codes = pa.py_buffer(np.ascontiguousarray(samples.codes))
    libraries = {name: version(name) for name in _LIBRARIES}
    metadata = json.dumps({"format": FORMAT, **asdict(drawing), "libraries": libraries}, sort_keys=True)
    table = pa.table(
        [
            pa.array(samples.indices, pa.int64()),
            pa.array(samples.labels, pa.int32()),
            pa.array([to_png(image) for image in samples.images], pa.binary()),
            pa.FixedSizeBinaryArray.from_buffers(pa.binary(num_bytes), num, [None, codes]),
        ],
        schema=_schema(num_bytes).with_metadata({_METADATA: metadata}),
    )
    file = pa.BufferOutputStream()
    # PNG is compressed already, and codes are as good as random.
    pq.write_table(table, file, compression="none", use_dictionary=False, write_statistics=False)
    return file.getvalue().to_pybytes()


def decode_samples(data: bytes, where: str) -> Samples:
    """The inverse of `encode_samples`; BadInput where the file is no whole shard."""
    table = _table(data, where)
    num_bytes = table.schema.field("codes").type.byte_width
    codes = b"".join(table.column("codes").to_pylist())
    return Samples(
        indices=table.column("index").to_numpy(),
        labels=table.column("label").to_numpy(),
        images=np.stack([np.asarray(Image.open(io.BytesIO(png))) for png in table.column("image").to_pylist()]),
        codes=np.frombuffer(codes, np.uint8).reshape(-1, num_bytes),
    )


def inspect_samples(data: bytes) -> Contents:
    """What a shard says of itself."""
    return Contents(len(_table(data, "the shard")), ())


def _table(data: bytes, where: str) -> pa.Table:
    try:
        table = pq.read_table(pa.BufferReader(data), use_threads=False)
        found = json.loads((table.schema.metadata or {})[_METADATA])["format"]
        schema = _schema(table.schema.field("codes").type.byte_width)
    except (pa.ArrowException, OSError, KeyError, AttributeError, ValueError) as error:
        raise BadInput(f"{where} is no sample shard, or damaged ({' '.join(str(error).split())})") from error
    if found != FORMAT:
        raise BadInput(f"{where} has sample format {found}, but this version reads {FORMAT}: update this software")
    if not table.schema.equals(schema) or not len(table):
        raise BadInput(f"{where} has columns {table.schema.names} of other types than sample shards have, or no rows")
    return table


def _schema(num_bytes: int) -> pa.Schema:
    fields = [
        ("index", pa.int64()),
        ("label", pa.int32()),
        ("image", pa.binary()),
        ("codes", pa.binary(num_bytes)),
    ]
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in fields])
