"""A folder of codes: the bits of all images of a data set, in shards that the manifest lists."""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

from bar_model.errors import BadInput, interpreting
from pipeline.codes.shard import CodeMetadata, Shard, decode_shard
from pipeline.execution.manifest import FileEntry, Manifest, read_checked
from pipeline.storage import Folder

STAGE, SHARD_NAME = "tokenize", "codes-{}.parquet"
SHARDS_AT_ONCE = 8


class CodeTable(NamedTuple):
    """The codes of a folder in memory, in the order of its shards; `codes` are packed, eight bits a byte."""

    keys: list[str]
    labels: Int32[np.ndarray, "rows"]
    codes: UInt8[np.ndarray, "rows views bytes"]
    metadata: CodeMetadata


def read_codes(url: str, *, expect_tokenizer: str | None = None) -> CodeTable:
    """All codes of a folder, with every shard checked against the manifest.

    Raises:
        BadInput: there is no manifest, a shard is missing or differs from it, several rows have one key, or the
            tokenizer is another than the one expected (by fingerprint).
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
    """The codes of the first `num` images of a folder; only the shards that hold them are read.

    Raises:
        BadInput: as `read_codes`, for these shards.
    """
    folder, manifest, metadata = open_codes(url)
    check_tokenizer(folder, metadata, expect_tokenizer)
    rows = np.cumsum([file.rows for file in manifest.files])
    needed = replace(manifest, files=manifest.files[: int(np.searchsorted(rows, num)) + 1])
    shards = list(sound_shards(folder, needed, metadata))
    keys = [key for shard in shards for key in shard.keys][:num]
    labels = np.concatenate([shard.labels for shard in shards])[:num]
    codes = np.concatenate([shard.codes for shard in shards])[:num]
    return CodeTable(keys, labels, _by_view(codes, metadata), metadata)


def verify(url: str) -> list[str]:
    """Everything that is wrong with a folder of codes, a line each: checksums, rows, schema, metadata, doubled keys.

    Raises:
        BadInput: there is no manifest of codes to compare with.
    """
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
    """A folder of codes, its manifest and the metadata of its codes; no shard is read.

    Raises:
        BadInput: there is no finished folder of codes.
    """
    folder = Folder(url)
    manifest = Manifest.read(folder, stage=STAGE, what="codes")
    with interpreting(f"{folder.path(manifest.name)} describes no codes", "restore it, or make the folder anew"):
        return folder, manifest, CodeMetadata.of(manifest.configuration["codes"])


def check_tokenizer(folder: Folder, metadata: CodeMetadata, expected: str | None) -> None:
    """Checks that codes were made by the tokenizer that is expected, by fingerprint; None expects any.

    Raises:
        BadInput: they were made by another one.
    """
    if expected not in (None, metadata.tokenizer):
        raise BadInput(
            f"{folder.url} was made by tokenizer {metadata.tokenizer}, not by {expected}: "
            "give the tokenizer that made the codes, or tokenize the images with yours"
        )


def sound_shards(folder: Folder, manifest: Manifest, metadata: CodeMetadata) -> Iterator[Shard]:
    """The shards in the manifest's order, each checked against it.

    Raises:
        BadInput: a shard is missing, or is not as the manifest says.
    """
    for file, shard in _shards(folder, manifest):
        if isinstance(shard, BadInput):
            raise shard
        if shard.metadata != metadata:
            raise BadInput(f"{folder.path(file.name)} has other metadata than the folder: tokenize the images anew")
        yield shard


def _shards(folder: Folder, manifest: Manifest) -> Iterator[tuple[FileEntry, Shard | BadInput]]:
    """The shards in the manifest's order, or what is wrong with them."""

    def read(file: FileEntry) -> Shard | BadInput:
        where = folder.path(file.name)
        try:
            shard = decode_shard(read_checked(folder, file), where).without(file.dropped)
            if len(shard.keys) != file.rows:
                raise BadInput(f"{where} has {len(shard.keys)} rows, the manifest says {file.rows}: restore it")
            return shard
        except BadInput as error:
            return error

    with ThreadPoolExecutor(SHARDS_AT_ONCE) as pool:
        # Only a window of shards is in memory at a time: those of ImageNet are 1.3 GB.
        for start in range(0, len(manifest.files), SHARDS_AT_ONCE):
            window = manifest.files[start : start + SHARDS_AT_ONCE]
            yield from zip(window, pool.map(read, window), strict=True)


def _doubled(keys: Sequence[str]) -> list[str]:
    if len(set(keys)) == len(keys):
        return []
    return [key for key, num in Counter(keys).items() if num > 1]


def _by_view(codes: UInt8[np.ndarray, "rows bytes"], metadata: CodeMetadata) -> UInt8[np.ndarray, "rows views bytes"]:
    return codes.reshape(len(codes), len(metadata.views), metadata.shape.num_bytes)
