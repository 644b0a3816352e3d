"""Codes larger than memory: one file on each machine's disk, mapped by all of its workers.

The file holds all labels, int32, then all codes as a `CodeTable` has them. What is read of it stays in the system's
page cache, once for all processes, until memory is needed for something else.
"""

import fcntl
import mmap
import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bar_model.errors import BadInput
from bar_model.memory import readable_bytes
from pipeline.codes.folder import check_tokenizer, open_codes, sound_shards
from pipeline.codes.shard import CodeMetadata
from pipeline.codes.table import Codes
from pipeline.execution.determinism import check_unchanged
from pipeline.storage import absolute

_LABEL = np.dtype("<i4")


@dataclass(frozen=True, kw_only=True)
class MappedCodes:
    """A folder of codes as its manifest has it now, and the folder where each machine keeps its copy."""

    url: str
    cache: str
    fingerprint: str
    """Of the manifest. The copy is named by it, so that a folder that has grown gets another copy."""
    rows: int
    metadata: CodeMetadata

    @classmethod
    def of(cls, url: str, cache: str, *, expect_tokenizer: str | None = None) -> "MappedCodes":
        """The codes of a folder, with their copies in the folder `cache` of each machine; nothing is copied yet.

        Raises:
            BadInput: there is no manifest, or the tokenizer is another than the one expected (by fingerprint).
        """
        folder, manifest, metadata = open_codes(url)
        check_tokenizer(folder, metadata, expect_tokenizer)
        return cls(
            url=str(absolute(url)),
            cache=str(Path(cache).expanduser().absolute()),
            fingerprint=manifest.fingerprint,
            rows=manifest.rows,
            metadata=metadata,
        )

    @property
    def file(self) -> Path:
        """The copy on this machine."""
        return Path(self.cache) / f"{self.fingerprint}.codes"

    @property
    def num_bytes(self) -> int:
        """The size of the copy."""
        return self.rows * (_LABEL.itemsize + self.metadata.num_bytes)

    def opened(self) -> Codes:
        """The rows in the order of `read_codes`; the first process of a machine copies them.

        Raises:
            BadInput: a shard is missing or differs from the manifest, the folder has changed, or the disk is too full.
                Keys are not compared with each other: `python jobs/inspect_codes.py FOLDER --verify` does.
        """
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self.file.exists() or self.file.stat().st_size != self.num_bytes:
                self._copy()
        with self.file.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        mapped.madvise(mmap.MADV_RANDOM)  # The next row is elsewhere: reading ahead would be in vain.
        labels = np.frombuffer(mapped, _LABEL, self.rows)
        packed = np.frombuffer(mapped, np.uint8, offset=labels.nbytes)
        return Codes(labels, packed.reshape(self.rows, len(self.metadata.views), -1))

    def _copy(self) -> None:
        """Copies shard by shard, each checked against the manifest; the file appears when it is whole."""
        folder, manifest, metadata = open_codes(self.url)
        check_unchanged(self.url, manifest.fingerprint, self.fingerprint)
        for left in self.file.parent.glob(f"{self.fingerprint}.*.part"):
            left.unlink()  # Left by a process that was killed, since this one holds the lock.
        free = shutil.disk_usage(self.cache).free
        if free < self.num_bytes:
            raise BadInput(
                f"{self.cache} has {readable_bytes(free)} left, but the codes of {self.url} are "
                f"{readable_bytes(self.num_bytes)}: make room, or name another folder (codes_cache)"
            )
        draft, row = self.file.with_suffix(f".{uuid.uuid4().hex}.part"), 0
        try:
            with draft.open("wb") as file:
                for shard in sound_shards(folder, manifest, metadata):
                    file.seek(row * _LABEL.itemsize)
                    file.write(shard.labels.astype(_LABEL).tobytes())
                    file.seek(self.rows * _LABEL.itemsize + row * metadata.num_bytes)
                    file.write(np.ascontiguousarray(shard.codes).tobytes())
                    row += len(shard.keys)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.file)
        finally:
            draft.unlink(missing_ok=True)
