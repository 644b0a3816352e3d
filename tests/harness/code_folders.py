"""Folders of codes for tests and benchmarks, from codes in memory."""

import hashlib
from functools import partial

import numpy as np

from pipeline.codes.folder import SHARD_NAME, STAGE, CodeTable
from pipeline.codes.shard import CodeMetadata, inspect_shard, pack_rows
from pipeline.execution.manifest import Manifest, open_stage
from pipeline.execution.records import Records
from pipeline.execution.stage import publish
from pipeline.execution.unit import Format, Unit, finish_unit
from pipeline.storage import Folder


def code_metadata(*, bits: int, grid: int, views: tuple[str, ...]) -> CodeMetadata:
    """The metadata of codes of this shape, by a tokenizer that does not exist."""
    tokenizer = "0123456789abcdef"
    return CodeMetadata(bits=bits, grid=grid, views=views, image_size=24, crop_rule="none", tokenizer=tokenizer)


SMALL = code_metadata(bits=3, grid=3, views=("crop", "flip"))


def small_table(num: int) -> CodeTable:
    """Random codes of so many images, of `SMALL`."""
    codes = np.random.default_rng(0).integers(0, 256, (num, 2, SMALL.shape.num_bytes), dtype=np.uint8)
    return CodeTable([f"{row}/{row}.png" for row in range(num)], np.arange(num, dtype=np.int32), codes, SMALL)


def write_codes(url: str, table: CodeTable, *, unit_size: int = 512) -> Manifest:
    """A folder of codes from codes in memory, without Ray: as `tokenize` leaves it."""
    folder = Folder(url)
    form = Format(name=SHARD_NAME, pack=partial(pack_rows, table.metadata), inspect=inspect_shard)
    packed = table.codes.reshape(len(table.keys), table.metadata.num_bytes)
    configuration = {"codes": table.metadata.identity, "source": {"kind": "memory"}, "unit_size": unit_size}
    open_stage(folder, STAGE, configuration)
    units, receipts = [], []
    for index, start in enumerate(range(0, len(table.keys), unit_size)):
        rows = slice(start, start + unit_size)
        keys, labels, codes = table.keys[rows], table.labels[rows].tolist(), packed[rows]
        payload = [keys, labels, hashlib.sha256(codes.tobytes()).hexdigest()]
        units.append(Unit(index=index, size=len(keys), payload=payload))
        row = {"codes": codes, "records": Records(keys, labels).to_json()}
        receipts.append(finish_unit(folder, form, units[-1], row))
    return publish(folder, STAGE, units, receipts, configuration=configuration)
