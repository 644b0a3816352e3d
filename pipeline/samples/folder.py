"""Sample shards: drawn pictures and their codes in Parquet files, a row an image, and how all of them were drawn."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Int32, Int64, UInt8

from bar_model import checkpoint
from bar_model.bits import CodeShape
from bar_model.configuration import from_dict, plain
from bar_model.errors import BadInput
from bar_model.generator.sampling import Sampling
from pipeline.execution.manifest import FileEntry, Manifest, read_checked
from pipeline.execution.unit import Contents, Row
from pipeline.features.folder import COLUMN, FeatureShard, features_in
from pipeline.samples.decoder import CodeDecoder
from pipeline.samples.encoding import Keeping, fixed_bytes
from pipeline.storage import Folder, local_copy
from pipeline.tables import read_parquet

FORMAT = 2
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
    labels: str
    """Which classes, as `Labels.schedule` says."""
    sampling: Sampling
    batch_size: int
    precision: str
    device: str
    pixel_rule: str = PIXEL_RULE


class Samples(NamedTuple):
    """Drawn pictures by image index, with the class that was asked for; `codes` packed eight bits a byte."""

    indices: Int64[np.ndarray, " images"]
    labels: Int32[np.ndarray, " images"]
    images: UInt8[np.ndarray, "images height width 3"]
    codes: UInt8[np.ndarray, "images bytes"]


@dataclass(frozen=True)
class SampleFolder:
    """A finished folder of samples, read against its manifest.

    `tokenizer` is the one that decoded them: it makes pictures of the codes where no others are kept.
    """

    folder: Folder
    manifest: Manifest
    tokenizer: str | None = None

    @classmethod
    def open(cls, url: str, tokenizer: str | None = None) -> "SampleFolder":
        """BadInput where there is no folder of samples."""
        folder = Folder(url)
        manifest = Manifest.read(folder, stage=STAGE, what="samples")
        return cls(folder, manifest, tokenizer)

    @cached_property
    def drawing(self) -> Drawing:
        return from_dict(Drawing, self.manifest.configuration["drawing"], self.folder.path(self.manifest.name))

    @property
    def networks(self) -> Mapping[str, Any] | None:
        """Identity of the networks whose features of the pictures are kept, where there are any."""
        return self.manifest.configuration.get("features")

    def shards(self) -> Iterator[Samples]:
        """One shard after another, by image index; BadInput where one is missing or is not the manifest's."""
        return map(self.shard, self.manifest.files)

    def shard(self, file: FileEntry) -> Samples:
        """The samples of one file."""
        return self._decoded(*self._table(file))

    def features(self, file: FileEntry) -> FeatureShard:
        """What `networks` saw in the samples of one file."""
        table, _ = self._table(file)
        names = [name for name in table.column_names if name.startswith(COLUMN)]
        columns = {name: table.column(name).combine_chunks() for name in names}
        features = {name: each.flatten().to_numpy().reshape(len(each), -1) for name, each in columns.items()}
        return FeatureShard(tuple(map(str, table.column("index").to_pylist())), features_in(features))

    def read(self) -> Samples:
        """All samples, in memory."""
        return Samples(*map(np.concatenate, zip(*self.shards(), strict=True)))

    def _table(self, file: FileEntry) -> tuple[pa.Table, Keeping]:
        data = read_checked(self.folder, file, remedy="draw the samples again, which makes what is missing")
        return read_table(data, self.folder.path(file.name))

    def _decoded(self, table: pa.Table, keeping: Keeping) -> Samples:
        indices, codes = table.column("index").to_numpy(), fixed_bytes(table.column("codes"))
        if keeping.has_pixels:
            images = keeping.images(table, self.drawing.image_size, self.folder)
        else:
            images = self._decoder(indices, codes)
        return Samples(indices, table.column("label").to_numpy(), images, codes)

    @cached_property
    def _decoder(self) -> CodeDecoder:
        drawing = self.drawing
        if self.tokenizer is None:
            raise BadInput(
                f"{self.folder.url} holds codes without pictures: give the tokenizer, {drawing.tokenizer}, too"
            )
        path = local_copy(self.tokenizer)
        if (found := checkpoint.fingerprint_of(path)) != drawing.tokenizer:
            raise BadInput(f"{self.tokenizer} is tokenizer {found}, but {self.folder.url} wants {drawing.tokenizer}")
        if drawing.device == "cuda" and not torch.cuda.is_available():
            raise BadInput(f"{self.folder.url} was drawn on a GPU, and only there do its codes give the same pictures")
        tokenizer = checkpoint.load_tokenizer(path, device=drawing.device, decode_only=True)
        return CodeDecoder(tokenizer, drawing.batch_size)


def read_samples(url: str, tokenizer: str | None = None) -> Samples:
    """All samples of a folder, in memory; BadInput where they are not all there."""
    return SampleFolder.open(url, tokenizer).read()


def encode_samples(row: Row, drawing: Drawing, keeping: Keeping) -> bytes:
    """`indices`, `labels`, `codes`, `images` and features as the bytes of a shard: the same for the same samples."""
    num, num_bytes = row["codes"].shape
    libraries = {name: version(name) for name in _LIBRARIES}
    features = {f"{COLUMN}{name}": each for name, each in features_in(row).items()}
    notes = {"format": FORMAT, "drawing": plain(drawing), "keeping": plain(keeping), "libraries": libraries}
    if features:
        notes["features"] = {name: each.shape[1] for name, each in features.items()}
    schema = _schema(num_bytes, keeping, notes)
    table = pa.table(
        [
            pa.array(row["indices"], pa.int64()),
            pa.array(row["labels"], pa.int32()),
            *keeping.columns(row),
            pa.FixedSizeBinaryArray.from_buffers(
                pa.binary(num_bytes), num, [None, pa.py_buffer(np.ascontiguousarray(row["codes"]))]
            ),
            *(pa.FixedSizeListArray.from_arrays(pa.array(each.ravel()), each.shape[1]) for each in features.values()),
        ],
        schema=schema.with_metadata({_METADATA: json.dumps(notes, sort_keys=True)}),
    )
    file = pa.BufferOutputStream()
    # Pictures are compressed already or are to be raw, and codes are as good as random.
    pq.write_table(table, file, compression="none", use_dictionary=False, write_statistics=False)
    return file.getvalue().to_pybytes()


def read_table(data: bytes, where: str) -> tuple[pa.Table, Keeping]:
    """A shard's columns, and how its pictures are kept; BadInput where the file is no whole shard."""
    try:
        table = read_parquet(data, where, kind="sample shard")
        notes = json.loads((table.schema.metadata or {})[_METADATA])
        found = notes["format"]
        num_bytes = table.schema.field("codes").type.byte_width
    except BadInput:
        raise
    except (KeyError, AttributeError, ValueError) as error:
        raise BadInput(f"{where} is no sample shard, or damaged ({' '.join(str(error).split())})") from error
    if found != FORMAT:
        raise BadInput(f"{where} has sample format {found}, but this version reads {FORMAT}: use the one that drew it")
    keeping = from_dict(Keeping, notes["keeping"], where)
    if not table.schema.equals(_schema(num_bytes, keeping, notes)) or not len(table):
        raise BadInput(f"{where} has columns {table.schema.names} of other types than sample shards have, or no rows")
    return table, keeping


def inspect_samples(data: bytes) -> Contents:
    """What a shard says of itself."""
    return Contents(len(read_table(data, "the shard")[0]), ())


def _schema(num_bytes: int, keeping: Keeping, notes: Mapping[str, Any]) -> pa.Schema:
    index, label, codes = (
        pa.field(name, kind, nullable=False)
        for name, kind in (("index", pa.int64()), ("label", pa.int32()), ("codes", pa.binary(num_bytes)))
    )
    number = pa.field("element", pa.float32(), nullable=False)
    features = [
        pa.field(name, pa.list_(number, dims), nullable=False) for name, dims in notes.get("features", {}).items()
    ]
    return pa.schema([index, label, *keeping.fields(notes["drawing"]["image_size"]), codes, *features])
