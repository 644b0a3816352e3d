"""The rows of a step as a function of (seed, step), for any number of workers.

There is no iterator and no state. The orders of all epochs, put end to end, are one endless sequence of rows, and step
s takes the places s · batch … (s + 1) · batch − 1 of it. A worker takes a contiguous share of these, and so does a
micro-batch. A batch may span the end of an epoch, so no row is left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int64, UInt64
from torch import Tensor

from bar_model.bits import CodeShape, unpack_bits
from bar_model.errors import BadInput
from pipeline.codes.table import Codes


class Rows(NamedTuple):
    """Some rows: their indices, the epoch in which each is seen, and 64 random bits for each, new in every epoch."""

    indices: Int64[np.ndarray, " rows"]
    epochs: Int64[np.ndarray, " rows"]
    chance: UInt64[np.ndarray, " rows"]

    def between(self, first: int, last: int) -> "Rows":
        """The rows at the places from `first` to before `last`."""
        return Rows(*(column[first:last] for column in self))

    def split(self, size: int) -> "Iterator[Rows]":
        """The smallest number of parts with at most `size` rows each, as equal in size as possible."""
        return self.parts(-(-len(self.indices) // size))

    def parts(self, num: int) -> "Iterator[Rows]":
        """The rows in `num` parts, as equal in size as possible."""
        for part in range(num):
            yield self.between(*_share(len(self.indices), part, num))


@dataclass(frozen=True, kw_only=True)
class Shuffle:
    """An order of `num_rows` rows: each row once an epoch, a new order in every epoch, `batch` rows in a step."""

    num_rows: int
    batch: int
    seed: int

    def rows(self, step: int, *, worker: int = 0, num_workers: int = 1) -> Rows:
        """The rows of a step, or the share of one worker."""
        first, last = _share(self.batch, worker, num_workers)
        epochs, places = np.divmod(np.arange(first, last) + step * self.batch, self.num_rows)
        indices, chance = np.empty_like(places), np.empty(len(places), np.uint64)
        for epoch in np.unique(epochs):
            seen = epochs == epoch
            indices[seen] = _order(self.seed, int(epoch), self.num_rows)[places[seen]]
            chance[seen] = _chance(self.seed, int(epoch), self.num_rows)[indices[seen]]
        return Rows(indices, epochs, chance)


@dataclass(frozen=True, kw_only=True)
class Share:
    """One worker's share of a shuffle, at most `micro_batch` rows at once (None: its whole share)."""

    shuffle: Shuffle
    worker: int = 0
    num_workers: int = 1
    micro_batch: int | None = None

    def __post_init__(self) -> None:
        if self.num_workers > self.shuffle.batch:
            raise BadInput(f"batch {self.shuffle.batch}: too small to be shared by {self.num_workers} workers")

    def parts(self, step: int) -> list[Rows]:
        """The micro-batches of a step: the same number for every worker, unless one has fewer rows than that."""
        rows = self.shuffle.rows(step, worker=self.worker, num_workers=self.num_workers)
        largest = -(-self.shuffle.batch // self.num_workers)
        num = -(-largest // (self.micro_batch or self.shuffle.batch))
        return list(rows.parts(min(num, len(rows.indices))))

    def all_once(self, num_rows: int) -> Iterator[Rows]:
        """This worker's part of a held-out set of `num_rows` rows, in micro-batches."""
        rows = in_order(*_share(num_rows, self.worker, self.num_workers))
        return rows.split(self.micro_batch or self.shuffle.batch)


def in_order(first: int, last: int) -> Rows:
    """The rows from `first` to before `last`, of epoch 0, with random bits that are all 0."""
    indices = np.arange(first, last)
    return Rows(indices, np.zeros_like(indices), np.zeros(len(indices), np.uint64))


class CodeBatch(NamedTuple):
    """Rows as the model takes them: of each, the bits of one view, which its random bits chose."""

    bits: Bool[Tensor, "batch tokens bits"]
    labels: Int64[Tensor, " batch"]
    rows: Int64[Tensor, " batch"]
    epochs: Int64[Tensor, " batch"]


def code_batch(codes: Codes, rows: Rows, shape: CodeShape, device: torch.device) -> CodeBatch:
    """The batch of some rows on a device; the bits are copied packed, and unpacked there."""
    views = rows.chance % np.uint64(codes.packed.shape[1])
    columns = (codes.packed[rows.indices, views], codes.labels[rows.indices], rows.indices, rows.epochs)
    packed, labels, indices, epochs = (to_device(column, device) for column in columns)
    bits = unpack_bits(packed, shape.num_bits).unflatten(-1, (shape.num_tokens, shape.bits))
    return CodeBatch(bits, labels.long(), indices, epochs)


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """A copy of an array on a device; on a GPU, nothing waits for the copy to end."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def _share(num: int, part: int, num_parts: int) -> tuple[int, int]:
    return num * part // num_parts, num * (part + 1) // num_parts


# An epoch's order and chance come from the raw words of numpy's Philox generator, which numpy promises never to change;
# its own permutation may change from one version to the next. Two epochs are kept, since a batch may span both.


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, num_rows: int) -> Int64[np.ndarray, " rows"]:
    return _words(seed, epoch, num_rows, stream=0).argsort(kind="stable")


@lru_cache(maxsize=2)
def _chance(seed: int, epoch: int, num_rows: int) -> UInt64[np.ndarray, " rows"]:
    return _words(seed, epoch, num_rows, stream=1)


def _words(seed: int, epoch: int, num: int, *, stream: int) -> UInt64[np.ndarray, " num"]:
    return np.random.Philox(key=[seed, epoch], counter=[0, 0, 0, stream]).random_raw(num)
