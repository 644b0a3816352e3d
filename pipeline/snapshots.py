"""Checkpoints of a training: one file each, in folders that Ray Train keeps a list of.

Ray Train finds the newest again by the name and the storage of the run, so that the same command goes on. Two gaps are
closed here: it overwrites its list in place, so that a kill could leave half of it; and a folder whose upload was cut
short is never removed, nor kept apart from a later one of the same name.
"""

import io
import json
import os
import pickle
import uuid
import zipfile
from pathlib import Path
from typing import Any

import torch
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from pyarrow import fs as arrow

from bar_model.errors import BadInput
from pipeline.storage import Folder

FOLDER = "checkpoints"
"""Below the output folder of a training; for Ray Train, the name of the run."""

_STATE = "state.pt"
_LIST = "checkpoint_manager_snapshot.json"
_PREFIX = "step-"
_FORMAT = 1


def checkpoint_name(step: int, attempt: str) -> str:
    """Each attempt at a step has a name of its own, so that none is laid over the remains of another."""
    return f"{_PREFIX}{step:08d}-{attempt}"


def write_state(state: dict[str, Any], folder: Path) -> None:
    torch.save({"format": _FORMAT, **state}, folder / _STATE)


def read_state(folder: Path, device: torch.device) -> dict[str, Any]:
    """What `write_state` wrote; tensors and plain values alone, nothing is unpickled into code.

    Raises:
        BadInput: the file is missing, damaged, or something else.
    """
    file = folder / _STATE
    # What isn't a zip file torch would read in ways of old, which break in as many.
    reason = "it is no zip file" if file.exists() else "there is none"
    if not zipfile.is_zipfile(file):
        raise BadInput(f"{file} is no checkpoint of a training ({reason}): restore it, or remove its folder")
    try:
        state = torch.load(file, map_location=device, weights_only=True)
        found = state["format"]
    except (RuntimeError, pickle.UnpicklingError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BadInput(f"{file} is no checkpoint of a training ({reason}): restore it, or remove its folder") from error
    if found != _FORMAT:
        raise BadInput(f"{file} has format {found}, but this version reads {_FORMAT}")
    return state


def ray_storage(out: Folder) -> tuple[arrow.FileSystem, str]:
    """The output folder as Ray Train takes it: a file system, and a path there."""
    if out.is_local:
        filesystem, path = _WholeFiles(), out.url
    else:
        # Other processes write here too: no listing may be remembered.
        filesystem, path = url_to_fs(out.url, use_listings_cache=False)
    return arrow.PyFileSystem(arrow.FSSpecHandler(filesystem)), path


def remove_orphans(out: Folder) -> None:
    """Remove the folders that Ray Train's list does not name: their upload, or their removal, was cut short.

    Raises:
        BadInput: the list is damaged.
    """
    checkpoints = out / FOLDER
    if not checkpoints.exists():
        return
    listed = checkpoints.read(_LIST).decode() if checkpoints.exists(_LIST) else "{}"
    try:
        json.loads(listed)
    except ValueError as error:
        where = checkpoints.path(_LIST)
        raise BadInput(f"{where} is damaged ({error}): restore it, or remove {checkpoints} to begin anew") from error
    filesystem, path = ray_storage(checkpoints)
    for found in filesystem.get_file_info(arrow.FileSelector(path)):
        if found.base_name.startswith(_PREFIX) and found.base_name not in listed:
            filesystem.delete_dir(found.path)


class _WholeFiles(LocalFileSystem):
    """The local disk, on which a written file appears when it is complete, in the place of an older one."""

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **options: Any) -> Any:
        return _Draft(path) if mode == "wb" else super()._open(path, mode, block_size, **options)


class _Draft(io.FileIO):
    """A file under another name until it is closed."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._aside = f"{path}.{uuid.uuid4().hex}"
        super().__init__(self._aside, "wb")

    def close(self) -> None:
        if not self.closed:
            os.fsync(self.fileno())
            super().close()
            os.replace(self._aside, self._path)
