"""Sample shards: drawn pictures and their codes in a Parquet file, a row an image, and how all of them were drawn."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int32, Int64, UInt8

from bar_model.bits import CodeShape
from bar_model.configuration import from_dict, plain
from bar_model.errors import BadInput, interpreting
from bar_model.generator.sampling import Sampling
from pipeline.execution.unit import Contents, Row
from pipeline.features.shard import COLUMN, features_in
from pipeline.samples.encoding import Keeping
from pipeline.tables import read_parquet

FORMAT = 2
PIXEL_RULE = "(x + 1) / 2 clamped to [0, 1], · 255 truncated"
_METADATA = b"bar.samples"
_LIBRARIES = ("torch", "numpy", "pillow", "pyarrow")


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """How samples were drawn: all that determines the pixels of an image, but for its index."""

    generator: str
    """Fingerprint of the generator's weights; `tokenizer` is that of the tokenizer's."""
    tokenizer: str
    codes: CodeShape
    image_size: int
    seed: int
    labels: str
    """Which classes, as `LabelSchedule.schedule` says."""
    sampling: Sampling
    batch_size: int
    precision: str
    device: str
    pixel_rule: str = PIXEL_RULE


class Samples(NamedTuple):
    """Drawn images by their index, with the class that each is to show. `codes` are packed, eight bits a byte."""

    indices: Int64[np.ndarray, " images"]
    labels: Int32[np.ndarray, " images"]
    images: UInt8[np.ndarray, "images height width 3"]
    codes: UInt8[np.ndarray, "images bytes"]


def encode_samples(row: Row, drawing: Drawing, keeping: Keeping) -> bytes:
    """The bytes of a shard, of `indices`, `labels`, `codes`, `images` and features. Equal samples give equal bytes."""
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
    # Images are compressed already, or are to be raw, and codes look like random bits: nothing is left to compress.
    pq.write_table(table, file, compression="none", use_dictionary=False, write_statistics=False)
    return file.getvalue().to_pybytes()


def read_table(data: bytes, where: str) -> tuple[pa.Table, Keeping]:
    """The columns of a shard, and how its images are kept.

    Raises:
        BadInput: the file is no whole shard, or one of another format.
    """
    table = read_parquet(data, where, kind="sample shard")
    with interpreting(f"{where} is no sample shard, or damaged", "restore it, or draw the samples anew"):
        notes = json.loads((table.schema.metadata or {})[_METADATA])
        found = notes["format"]
        if found != FORMAT:
            raise BadInput(
                f"{where} has sample format {found}, but this version reads {FORMAT}: use the one that drew it"
            )
        keeping = from_dict(Keeping, notes["keeping"], where)
        schema = _schema(table.schema.field("codes").type.byte_width, keeping, notes)
    if not table.schema.equals(schema) or not len(table):
        raise BadInput(f"{where} has columns {table.schema.names} of other types than sample shards have, or no rows")
    return table, keeping


def inspect_samples(data: bytes) -> Contents:
    """The number of rows in a shard, as the stage notes it."""
    return Contents(len(read_table(data, "the shard")[0]), ())


def check_samples(data: bytes, drawing: Drawing) -> None:
    """Looks at every picture in a shard that was found: while no manifest names it, it has no checksum.

    Raises:
        BadInput: the shard is damaged, or was drawn otherwise.
    """
    table, keeping = read_table(data, "the shard")
    there = json.loads(table.schema.metadata[_METADATA])["drawing"]
    if there != json.loads(json.dumps(plain(drawing))):
        raise BadInput("it was drawn by other models or settings")
    keeping.check(table, drawing.image_size)


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
