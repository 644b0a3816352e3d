"""The output folder of a training as a file system of pyarrow, which Ray Train writes to."""

import io
import os
import uuid
from typing import Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from pyarrow import fs as arrow

from pipeline.storage import Folder


def arrow_filesystem(folder: Folder) -> tuple[arrow.FileSystem, str]:
    """A file system that Ray Train can write to, and the path of the folder in it."""
    if folder.is_local:
        filesystem, path = _WholeFiles(), folder.url
    else:
        # Other processes write here too, so listings must not be cached.
        filesystem, path = url_to_fs(folder.url, use_listings_cache=False)
    return arrow.PyFileSystem(arrow.FSSpecHandler(filesystem)), path


def remove_folder(folder: Folder) -> None:
    """Removes a folder with all that it holds, on a disk as on an object store.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    filesystem, path = arrow_filesystem(folder)
    filesystem.delete_dir(path)


class _WholeFiles(LocalFileSystem):
    """The local disk, where a written file replaces an older one only when it is complete.

    Ray Train overwrites its list of checkpoints in place, so that a kill could leave half of it.
    """

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **options: Any) -> Any:
        return _Draft(path) if mode == "wb" else super()._open(path, mode, block_size, **options)


class _Draft(io.FileIO):
    """A file that has another name until it is closed."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._aside = f"{path}.{uuid.uuid4().hex}"
        super().__init__(self._aside, "wb")

    def close(self) -> None:
        if not self.closed:
            os.fsync(self.fileno())
            super().close()
            os.replace(self._aside, self._path)
