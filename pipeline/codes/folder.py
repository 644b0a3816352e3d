"""A folder of codes: the bits of all images of a data set, in shards that the manifest lists.

python -m pipeline.codes.folder FOLDER                                     what it holds
python -m pipeline.codes.folder FOLDER --verify                            every shard against the manifest
python -m pipeline.codes.folder FOLDER --decode OUT.png --tokenizer PATH   its first pictures
"""

import hashlib
import json
import math
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from typing import NamedTuple

import numpy as np
import torch
import tyro
from einops import rearrange
from jaxtyping import Int32, UInt8

from bar_model import checkpoint
from bar_model.bits import unpack_bits
from bar_model.errors import BadInput
from pipeline.codes.shard import CodeMetadata, Shard, decode_shard, encode_shard
from pipeline.command import run_module
from pipeline.execution.manifest import FileEntry, Manifest, Quarantined, open_stage, read_checked
from pipeline.execution.quarantine import read_quarantine
from pipeline.execution.stage import publish
from pipeline.execution.unit import Contents, Format, Row, Unit, finish_unit
from pipeline.images.codec import from_model, to_grid, to_png
from pipeline.storage import Folder, local_copy

STAGE, SHARD_NAME = "tokenize", "codes-{}.parquet"
READS_AT_ONCE, QUARANTINED_SHOWN = 8, 10


class CodeTable(NamedTuple):
    """The codes of a folder in memory, in the order of its shards; `codes` packed eight bits a byte."""

    keys: list[str]
    labels: Int32[np.ndarray, "rows"]
    codes: UInt8[np.ndarray, "rows views bytes"]
    metadata: CodeMetadata


def read_codes(url: str, *, expect_tokenizer: str | None = None) -> CodeTable:
    """All codes of a folder, every shard checked against the manifest.

    BadInput where there is no manifest, a shard is missing or differs from it, keys are doubled, or the tokenizer
    is another than the one expected (by fingerprint).
    """
    folder, manifest, metadata = open_codes(url)
    check_tokenizer(folder, metadata, expect_tokenizer)
    keys: list[str] = []
    labels = np.empty(manifest.rows, np.int32)
    codes = np.empty((manifest.rows, metadata.num_bytes), np.uint8)
    for shard in sound_shards(folder, manifest, metadata):
        rows = slice(len(keys), len(keys) + len(shard.keys))
        labels[rows], codes[rows] = shard.labels, shard.codes
        keys += shard.keys
    for key in _doubled(keys):
        raise BadInput(f"{folder.url} has several rows of key {key!r}: tokenize the folder anew")
    return CodeTable(keys, labels, _by_view(codes, metadata), metadata)


def first_codes(url: str, num: int, *, expect_tokenizer: str | None = None) -> CodeTable:
    """The first rows of a folder, without reading more shards than hold them."""
    folder, manifest, metadata = open_codes(url)
    check_tokenizer(folder, metadata, expect_tokenizer)
    rows = np.cumsum([file.rows for file in manifest.files])
    needed = replace(manifest, files=manifest.files[: int(np.searchsorted(rows, num)) + 1])
    shards = list(sound_shards(folder, needed, metadata))
    keys = [key for shard in shards for key in shard.keys][:num]
    labels = np.concatenate([shard.labels for shard in shards])[:num]
    codes = np.concatenate([shard.codes for shard in shards])[:num]
    return CodeTable(keys, labels, _by_view(codes, metadata), metadata)


def write_codes(url: str, table: CodeTable, *, unit_size: int = 512) -> Manifest:
    """A folder of codes from codes in memory, without Ray: what `tokenize` makes of pictures."""
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
        row = {"codes": codes, "records": json.dumps([keys, labels, []])}
        receipts.append(finish_unit(folder, form, units[-1], row))
    return publish(folder, STAGE, units, receipts, configuration=configuration)


def pack_rows(metadata: CodeMetadata, row: Row) -> bytes:
    """`codes` (N, bytes) uint8 and `records`, JSON of keys, labels and what was quarantined -> a shard's file."""
    keys, labels, quarantined = json.loads(row["records"])
    codes = np.asarray(row["codes"], np.uint8).reshape(len(keys), metadata.num_bytes)
    notes = tuple(Quarantined(*item) for item in quarantined)
    return encode_shard(Shard(keys, np.array(labels, np.int32), codes, metadata, notes))


def inspect_shard(data: bytes) -> Contents:
    """What a shard's file says of itself."""
    shard = decode_shard(data, "the shard")
    return Contents(len(shard.keys), shard.quarantined)


def verify(url: str) -> list[str]:
    """Everything that is wrong with a code folder, a line each: checksums, rows, schema, metadata, doubled keys."""
    folder, manifest, metadata = open_codes(url)
    problems: list[str] = []
    keys: list[str] = []
    for file, shard in _shards(folder, manifest):
        if isinstance(shard, BadInput):
            problems.append(str(shard))
            continue
        if shard.metadata != metadata:
            problems.append(f"{folder.path(file.name)} has other metadata than the folder")
        keys += shard.keys
    return problems + [f"{folder.url} has several rows of key {key!r}" for key in _doubled(keys)]


def open_codes(url: str) -> tuple[Folder, Manifest, CodeMetadata]:
    """What a folder of codes says of itself, the shards unread; BadInput where it is none."""
    folder = Folder(url)
    manifest = Manifest.read(folder)
    if manifest.stage != STAGE:
        raise BadInput(f"{folder.url} was made by the stage {manifest.stage!r}: give a folder of codes")
    return folder, manifest, CodeMetadata.of(manifest.configuration["codes"])


def check_tokenizer(folder: Folder, metadata: CodeMetadata, expected: str | None) -> None:
    """BadInput where codes were made by another tokenizer than the one expected, if any is."""
    if expected not in (None, metadata.tokenizer):
        raise BadInput(
            f"{folder.url} was made by tokenizer {metadata.tokenizer}, not by {expected}: "
            "give the tokenizer that made the codes, or tokenize the images with yours"
        )


def sound_shards(folder: Folder, manifest: Manifest, metadata: CodeMetadata) -> Iterator[Shard]:
    """Shards in the manifest's order, each checked against it; BadInput at the first that is not as it says."""
    for file, shard in _shards(folder, manifest):
        if isinstance(shard, BadInput):
            raise shard
        if shard.metadata != metadata:
            raise BadInput(f"{folder.path(file.name)} has other metadata than the folder: tokenize the images anew")
        yield shard


def _shards(folder: Folder, manifest: Manifest) -> Iterator[tuple[FileEntry, Shard | BadInput]]:
    """Shards in the manifest's order, or what is wrong with them."""

    def read(file: FileEntry) -> Shard | BadInput:
        where = folder.path(file.name)
        try:
            shard = decode_shard(read_checked(folder, file), where).without(file.dropped)
            if len(shard.keys) != file.rows:
                raise BadInput(f"{where} has {len(shard.keys)} rows, the manifest says {file.rows}: restore it")
            return shard
        except BadInput as error:
            return error

    with ThreadPoolExecutor(READS_AT_ONCE) as pool:
        # A window of reads ahead, not all of them: the shards of ImageNet are 1.3 GB.
        for start in range(0, len(manifest.files), READS_AT_ONCE):
            window = manifest.files[start : start + READS_AT_ONCE]
            yield from zip(window, pool.map(read, window), strict=True)


def _doubled(keys: Sequence[str]) -> list[str]:
    if len(set(keys)) == len(keys):
        return []
    return [key for key, num in Counter(keys).items() if num > 1]


def _by_view(codes: UInt8[np.ndarray, "rows bytes"], metadata: CodeMetadata) -> UInt8[np.ndarray, "rows views bytes"]:
    return codes.reshape(len(codes), len(metadata.views), metadata.shape.num_bytes)


@dataclass(frozen=True, kw_only=True)
class ShowConfig:
    """Which folder of codes to show, and what of it."""

    folder: tyro.conf.Positional[str]
    """Folder of codes, of any URL."""
    verify: bool = False
    """Read every shard and check it against the manifest."""
    decode: str | None = None
    """PNG file for the first pictures, as the tokenizer decodes them."""
    tokenizer: str | None = None
    """The tokenizer that made the codes: a model folder or a published .bin file, of any URL."""
    num: int = 64
    """Pictures to decode."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    return run_module(_look, ShowConfig, arguments)


def _look(config: ShowConfig) -> bool:
    """Whether the folder is sound, as far as was asked."""
    if (config.decode is None) != (config.tokenizer is None):
        raise BadInput("--decode OUT.png and --tokenizer PATH belong together: give both or neither")
    _show(config.folder)
    if config.decode is not None and config.tokenizer is not None:
        _decode(config.folder, config.decode, config.tokenizer, config.num)
    if not config.verify:
        return True
    problems = verify(config.folder)
    print("\n".join(problems) or "every shard is as the manifest says")
    return not problems


def _show(url: str) -> None:
    folder, manifest, metadata = open_codes(url)
    source = manifest.configuration["source"]
    facts = {
        "images": f"{manifest.rows:,} in {len(manifest.files):,} shards",
        "bytes": f"{manifest.num_bytes:,}, {manifest.num_bytes / max(manifest.rows, 1):,.0f} an image",
        "codes": f"{metadata.grid} × {metadata.grid} tokens of {metadata.bits} bits",
        "views": ", ".join(metadata.views),
        "pictures": f"{metadata.image_size} px, {metadata.crop_rule}",
        "source": source.get("url", source["kind"]),
        "tokenizer": metadata.tokenizer,
        "manifest": f"{manifest.name}, fingerprint {manifest.fingerprint}",
        "quarantined": f"{manifest.num_quarantined:,}",
    }
    print(folder.url)
    for name, fact in facts.items():
        print(f"  {name:<12} {fact}")
    for item in islice(chain.from_iterable(read_quarantine(folder, manifest).values()), QUARANTINED_SHOWN):
        print(f"    {item.where} {item.why}")
    if manifest.quarantine is not None and manifest.num_quarantined > QUARANTINED_SHOWN:
        print(f"    all of them: {folder.path(manifest.quarantine.name)}")


def _decode(url: str, out: str, tokenizer: str, num: int) -> None:
    """The first pictures of a folder, in their first view, as one PNG file."""
    path = local_copy(tokenizer)
    table = first_codes(url, num, expect_tokenizer=checkpoint.fingerprint_of(path))
    model = checkpoint.load_tokenizer(path, decode_only=True)
    bits = unpack_bits(torch.from_numpy(table.codes[:, 0]), table.metadata.shape.num_bits)
    shaped = rearrange(bits, "row (token bit) -> row token bit", bit=table.metadata.bits)
    images = np.concatenate([from_model(model.decode(some)) for some in shaped.split(16)])
    directory, _, name = out.rpartition("/")
    Folder(directory or ".").write(name, to_png(to_grid(images, columns=math.isqrt(len(images)))))
    print(f"{out}: the first {len(images)} pictures, view {table.metadata.views[0]!r}")


if __name__ == "__main__":
    sys.exit(main())
