"""A training's state in a folder: each rank's part of its tensors, and a document that says what they are.

A rank writes its part into safetensors files and then `rank-00000.json`, which names them with their sizes and SHA-256.
So ranks need no exchange, and the state is whole once all documents are there. torch.distributed.checkpoint (DCP) reads
it and fetches the pieces that overlap with what a process holds of each tensor: the whole (DDP) or a shard (FSDP), of
any number of ranks.

Nothing is unpickled. The usual metadata of DCP is a pickle. Here DCP uses a form without one, in which the header of
each file says where its pieces belong. Sizes and checksums are compared before any file is read.
"""

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from torch import Tensor
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.tensor import DTensor

from bar_model.configuration import json_file
from bar_model.errors import BadInput, interpreting
from pipeline.storage import Folder
from pipeline.training.step.ranks import Ranks

FORMAT = 2
FILE_BYTES = 2**28
"""About the size of a file in bytes: so much is in memory a second time while it is written."""
RESUME_REMEDY = "restore it, or go on from the last whole one with --resume last-whole"


class TensorPiece(NamedTuple):
    """A piece of a tensor that one rank writes, and the index at which the piece begins."""

    piece: Tensor
    offsets: tuple[int, ...]


class StateFile(NamedTuple):
    """A file of a state: its name, its size in bytes, and its SHA-256."""

    name: str
    size: int
    sha256: str


class RankDocument(NamedTuple):
    """What a rank writes about its part of a state; of the values, only the first rank's are used."""

    num_ranks: int
    values: dict[str, Any]
    files: list[StateFile]


class Snapshot:
    """A copy of this rank's part of a state at one moment; the next copy reuses its memory."""

    def __init__(self, ranks: Ranks) -> None:
        """A snapshot for this rank, without content until `take` is called."""
        self._ranks = ranks
        self._parts: dict[str, TensorPiece] = {}
        self._values: dict[str, Any] = {}

    def take(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Copies this rank's part into this machine's memory; all ranks have to pass the same names.

        `values` are kept beside the tensors, as JSON. Waits for the device, but for no other rank.
        """
        taken = {}
        for name, (piece, offsets) in _own_parts(tensors, self._ranks).items():
            before = self._parts.get(name)
            buffer = (
                torch.empty(piece.shape, dtype=piece.dtype, pin_memory=piece.is_cuda) if before is None else before[0]
            )
            taken[name] = TensorPiece(buffer.copy_(piece, non_blocking=True), offsets)
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        self._parts, self._values = taken, dict(values)

    def write(self, folder: Folder) -> None:
        """Writes files of about `FILE_BYTES`, and this rank's document last; another thread may call it."""
        rank = self._ranks.rank
        files: list[StateFile] = []
        for index, names in enumerate(_in_files(self._parts)):
            offsets = {name: {"saved_offsets": self._parts[name].offsets} for name in names}
            pieces = {name: self._parts[name].piece for name in names}
            # The header by which DCP knows where the pieces belong.
            data = safetensors.torch.save(pieces, {"DCP_SHARDING_INFO": json.dumps(offsets)})
            name = f"shard-{rank:05d}-{index:05d}.safetensors"
            files.append(StateFile(name, len(data), hashlib.sha256(data).hexdigest()))
            folder.write(name, data)
        document = {"format": FORMAT, **RankDocument(self._ranks.num, self._values, files)._asdict()}
        folder.write(_document_name(rank), json_file(document))


def check_state(folder: Folder, *, contents: bool) -> dict[str, Any]:
    """The values that were kept, once the sizes of all files are checked and, with `contents`, their checksums.

    Raises:
        BadInput: the state is not whole, or a file does not belong to it; the message names the file.
    """
    first = _document(folder, 0)
    documents = [first, *(_document(folder, rank) for rank in range(1, first.num_ranks))]
    for rank, document in enumerate(documents):
        if (document.num_ranks, document.values.get("step")) != (first.num_ranks, first.values.get("step")):
            raise BadInput(
                f"{folder.path(_document_name(rank))} is not of the same checkpoint as the first: {RESUME_REMEDY}"
            )
    expected = {name: (size, digest) for document in documents for name, size, digest in document.files}
    found = {entry.name: entry.size for entry in folder.list("*.safetensors")}
    for name in sorted(expected.keys() | found.keys()):
        if name not in expected:
            raise BadInput(f"{folder.path(name)} belongs to no rank of this checkpoint: remove it")
        size, digest = expected[name]
        if found.get(name) != size:
            there = f"{found[name]:,} bytes long" if name in found else "missing"
            raise BadInput(f"{folder.path(name)} is damaged ({there}, it was {size:,} bytes long): {RESUME_REMEDY}")
        if contents and _sha256(folder, name) != digest:
            raise BadInput(f"{folder.path(name)} is damaged (its SHA-256 is not what it was): {RESUME_REMEDY}")
    return first.values


def shapes_of(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of a state, by name."""
    with interpreting(f"{folder} is no whole checkpoint", RESUME_REMEDY):
        found = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    return {name: tuple(each.size) for name, each in found.items() if isinstance(each, TensorStorageMetadata)}


def load_state(folder: Path, tensors: dict[str, Tensor], *, all_of_it: bool = True) -> None:
    """Fills these tensors, whole ones or shards, with what `Snapshot` wrote under their names.

    Needs no other rank. Without `all_of_it`, the folder may hold more tensors than these.

    Raises:
        BadInput: the folder holds other tensors.
    """
    reader = HuggingFaceStorageReader(str(folder))
    there = shapes_of(folder)
    here = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    for name in sorted(there.keys() | here.keys() if all_of_it else here):
        if there.get(name) != here.get(name):
            raise BadInput(
                f"{folder} is a checkpoint of another training ({name}: {there.get(name, 'none')} there, "
                f"{here.get(name, 'none')} here): choose another output folder"
            )
    with interpreting(f"{folder} is no whole checkpoint", RESUME_REMEDY), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # Each rank reads for itself.
        load(tensors, storage_reader=reader, no_dist=True)


def _own_parts(tensors: Mapping[str, Tensor], ranks: Ranks) -> dict[str, TensorPiece]:
    """The pieces that this rank writes: its shards, and a share of what all ranks hold, dealt out the largest first."""
    parts, dealt = {}, [0] * ranks.num
    for name in sorted(tensors, key=lambda name: (-tensors[name].numel(), name)):
        tensor = tensors[name].detach()
        if isinstance(tensor, DTensor):
            (chunk,) = tensor.__create_chunk_list__()
            if tensor.to_local().numel():
                parts[name] = TensorPiece(tensor.to_local(), tuple(chunk.offsets))
            continue
        owner = dealt.index(min(dealt))
        dealt[owner] += tensor.nbytes
        if owner == ranks.rank:
            parts[name] = TensorPiece(tensor, (0,) * tensor.ndim)
    return parts


def _in_files(parts: Mapping[str, TensorPiece]) -> Iterator[list[str]]:
    """The names of the tensors in each file."""
    names: list[str] = []
    size = 0
    for name, (piece, _) in parts.items():
        if names and size + piece.nbytes > FILE_BYTES:
            yield names
            names, size = [], 0
        names.append(name)
        size += piece.nbytes
    if names:
        yield names


def _document_name(rank: int) -> str:
    return f"rank-{rank:05d}.json"


def _document(folder: Folder, rank: int) -> RankDocument:
    name = _document_name(rank)
    try:
        data = folder.read(name)
    except FileNotFoundError as error:
        raise BadInput(f"{folder.url} is no whole checkpoint ({name} is missing): {RESUME_REMEDY}") from error
    with interpreting(f"{folder.path(name)} is damaged", RESUME_REMEDY):
        document = json.loads(data)
        version = document.pop("format")
        if version != FORMAT:
            raise BadInput(f"{folder.path(name)} has format {version}, but this version reads {FORMAT}")
        document = RankDocument(**document)
        if type(document.num_ranks) is not int or document.num_ranks < 1 or not isinstance(document.values, dict):
            raise TypeError("it is of a number of ranks, with an object of values")
        return document._replace(
            files=[StateFile(str(name), int(size), str(digest)) for name, size, digest in document.files]
        )


def _sha256(folder: Folder, name: str) -> str:
    digest = hashlib.sha256()
    with folder.open(name) as file:
        while data := file.read(2**24):
            digest.update(data)
    return digest.hexdigest()
