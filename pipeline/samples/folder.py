"""A finished folder of samples, checked against its manifest while it is read."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from bar_model import checkpoint
from bar_model.configuration import from_dict
from bar_model.errors import BadInput, interpreting
from pipeline.execution.manifest import FileEntry, Manifest, read_checked
from pipeline.features.shard import COLUMN, FeatureShard, features_in
from pipeline.samples.decoder import CodeDecoder
from pipeline.samples.encoding import Keeping, fixed_bytes
from pipeline.samples.shard import Drawing, Samples, read_table
from pipeline.storage import Folder, local_copy

STAGE = "sample"


@dataclass(frozen=True)
class SampleFolder:
    """A finished folder of samples, checked against its manifest while it is read.

    `tokenizer` is the one that decoded them. It makes images of the codes if none are kept.
    """

    folder: Folder
    manifest: Manifest
    tokenizer: str | None = None

    @classmethod
    def open(cls, url: str, tokenizer: str | None = None) -> "SampleFolder":
        """The folder of samples at a URL.

        Raises:
            BadInput: there is no finished folder of samples.
        """
        folder = Folder(url)
        manifest = Manifest.read(folder, stage=STAGE, what="samples")
        if not manifest.files:
            raise BadInput(f"{folder.path(manifest.name)} names no samples: restore it, or draw them anew")
        return cls(folder, manifest, tokenizer)

    @cached_property
    def drawing(self) -> Drawing:
        """How the samples were drawn."""
        where = self.folder.path(self.manifest.name)
        with interpreting(f"{where} describes no samples", "restore it, or draw the samples anew"):
            return from_dict(Drawing, self.manifest.configuration["drawing"], where)

    @property
    def networks(self) -> Mapping[str, Any] | None:
        """The identity of the networks whose features of the images are kept; None without features."""
        return self.manifest.configuration.get("features")

    def shards(self) -> Iterator[Samples]:
        """The samples, shard by shard, in the order of their indices.

        Raises:
            BadInput: a file is missing, or is not the one that the manifest names.
        """
        return map(self.shard, self.manifest.files)

    def shard(self, file: FileEntry) -> Samples:
        """The samples of one file of the manifest."""
        return self._decoded(*self._table(file))

    def features(self, file: FileEntry) -> FeatureShard:
        """The features of the samples of one file, as `networks` saw them."""
        table, _ = self._table(file)
        names = [name for name in table.column_names if name.startswith(COLUMN)]
        columns = {name: table.column(name).combine_chunks() for name in names}
        features = {name: each.flatten().to_numpy().reshape(len(each), -1) for name, each in columns.items()}
        return FeatureShard(tuple(map(str, table.column("index").to_pylist())), features_in(features))

    def read(self) -> Samples:
        """All samples of the folder, in memory."""
        return Samples(*map(np.concatenate, zip(*self.shards(), strict=True)))

    def _table(self, file: FileEntry) -> tuple[pa.Table, Keeping]:
        data = read_checked(self.folder, file, remedy="draw the samples again, which makes what is missing")
        where = self.folder.path(file.name)
        table, keeping = read_table(data, where)
        if len(table) != file.rows:
            raise BadInput(f"{where} has {len(table)} rows, the manifest says {file.rows}: restore it")
        return table, keeping

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
            raise BadInput(
                f"{self.tokenizer} is tokenizer {found}, but {self.folder.url} was drawn with {drawing.tokenizer}"
            )
        if drawing.device == "cuda" and not torch.cuda.is_available():
            raise BadInput(f"{self.folder.url} was drawn on a GPU, and only there do its codes give the same pictures")
        tokenizer = checkpoint.load_tokenizer(path, device=drawing.device, decode_only=True)
        return CodeDecoder(tokenizer, drawing.batch_size)


def read_samples(url: str, tokenizer: str | None = None) -> Samples:
    """All samples of a folder, in memory.

    Raises:
        BadInput: the folder is not finished, or a file is missing or damaged.
    """
    return SampleFolder.open(url, tokenizer).read()
