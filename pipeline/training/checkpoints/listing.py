"""The checkpoints of a training: folders of state, of which Ray Train keeps a list.

Ray Train finds the newest again by the name and the storage of the run, so that the same command goes on. Three gaps
are closed here. It overwrites its list in place, so that a kill could leave half of it. A folder that was cut short is
never removed, nor kept apart from a later one of the same name. And it keeps either the newest or the best: so it is
told to keep all, and what is no longer wanted is removed from under its list, which is then brought up to date.
"""

import io
import json
import os
import uuid
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from pyarrow import fs as arrow

from bar_model.errors import BadInput
from pipeline.storage import Folder
from pipeline.training.checkpoints.state import check_state

FOLDER = "checkpoints"
"""Below the output folder of a training; for Ray Train, the name of the run."""
SCORE = "score"
"""Metric of a checkpoint by which the best are kept, the lower the better; those without it are never among them."""

_LIST = "checkpoint_manager_snapshot.json"
_PREFIX = "step-"


class Listed(NamedTuple):
    """A checkpoint that all ranks have finished: the name of its folder, and what was measured of its weights."""

    name: str
    score: float | None

    @staticmethod
    def of(path: str, metrics: dict[str, Any]) -> "Listed":
        return Listed(PurePosixPath(path).name, metrics.get(SCORE))


def checkpoint_name(step: int, attempt: str) -> str:
    """Each attempt at a step has a name of its own, so that none is laid over the remains of another."""
    return f"{_PREFIX}{step:08d}-{attempt}"


def worth_keeping(listed: Sequence[Listed], *, newest: int, best: int) -> list[Listed]:
    """Of checkpoints in the order of their making, the newest and, of all, the best."""
    scored = [each for each in listed if each.score is not None]
    chosen = {*listed[-newest:], *sorted(scored, key=lambda each: each.score or 0.0)[:best]}
    return [each for each in listed if each in chosen]


def ray_storage(out: Folder) -> tuple[arrow.FileSystem, str]:
    """The output folder as Ray Train takes it: a file system, and a path there."""
    if out.is_local:
        filesystem, path = _WholeFiles(), out.url
    else:
        # Other processes write here too: no listing may be remembered.
        filesystem, path = url_to_fs(out.url, use_listings_cache=False)
    return arrow.PyFileSystem(arrow.FSSpecHandler(filesystem)), path


def listed_in(out: Folder) -> list[Listed]:
    """All that Ray Train lists, in the order of their making, though some may have been removed.

    Raises:
        BadInput: the list is damaged.
    """
    return _Listing.read(out / FOLDER).listed


def remove(out: Folder, name: str) -> None:
    """A checkpoint, or the remains of one."""
    filesystem, path = ray_storage(out / FOLDER)
    filesystem.delete_dir(f"{path}/{name}")


def tidy(out: Folder) -> list[Listed]:
    """Make Ray Train's list and the folders agree; what is then listed, in the order of its making.

    Folders that the list does not name were cut short, or were about to be removed: they go. Names without a folder go
    from the list, but for the newest's.

    Raises:
        BadInput: the list is damaged or gone, or the newest checkpoint is gone.
    """
    checkpoints = out / FOLDER
    if not checkpoints.exists():
        return []
    listing = _Listing.read(checkpoints)
    there = {name for name in checkpoints.folders() if name.startswith(_PREFIX)}
    if not checkpoints.exists(_LIST):
        _check_first(checkpoints, there)
    for name in there - {each.name for each in listing.listed}:
        remove(out, name)
    if listing.listed and listing.listed[-1].name not in there:
        raise BadInput(
            f"{checkpoints.path(listing.listed[-1].name)} is missing, the newest checkpoint: restore it, or go on from "
            "the last whole one with --resume last-whole"
        )
    listing.keep(there)
    return listing.listed


def _check_first(checkpoints: Folder, names: set[str]) -> None:
    """A training that was killed before its first list leaves one whole checkpoint at most.  Raises: BadInput: more."""
    whole = sorted(name for name in names if _is_whole(checkpoints / name))
    if len(whole) > 1:
        raise BadInput(
            f"{checkpoints.path(_LIST)} is missing, the list of {len(whole)} checkpoints ({', '.join(whole)}): restore "
            f"it, or remove {checkpoints} to begin anew"
        )


def _is_whole(checkpoint: Folder) -> bool:
    """As far as sizes show."""
    try:
        check_state(checkpoint, contents=False)
    except BadInput:
        return False
    return True


def drop_damaged(out: Folder) -> None:
    """Remove the newest checkpoints as far as they are not whole, each with a word on why.

    Raises:
        BadInput: the list is damaged, or no checkpoint is whole.
    """
    checkpoints = out / FOLDER
    if not checkpoints.exists():
        return
    listing = _Listing.read(checkpoints)
    names = [each.name for each in listing.listed]
    while names:
        try:
            check_state(checkpoints / names[-1], contents=True)
            break
        except BadInput as error:
            print(f"passed over, and removed: {error}", flush=True)
            names.pop()
    if listing.listed and not names:
        raise BadInput(f"{checkpoints} has no whole checkpoint: restore one, or choose another output folder")
    listing.keep(set(names))


class _Listing:
    """Ray Train's list, as its file has it."""

    def __init__(self, checkpoints: Folder, content: dict[str, Any]) -> None:
        self._checkpoints = checkpoints
        self._content = content

    @staticmethod
    def read(checkpoints: Folder) -> "_Listing":
        if not checkpoints.exists(_LIST):
            return _Listing(checkpoints, {"checkpoint_results": [], "checkpoint_report_indices": []})
        try:
            listing = _Listing(checkpoints, json.loads(checkpoints.read(_LIST)))
            _ = listing.listed
        except (ValueError, KeyError, TypeError) as error:
            where = checkpoints.path(_LIST)
            raise BadInput(
                f"{where} is damaged ({error}): restore it, or remove {checkpoints} to begin anew"
            ) from error
        return listing

    @property
    def listed(self) -> list[Listed]:
        return [Listed.of(each["checkpoint_dir_name"], each["metrics"]) for each in self._results()]

    def keep(self, names: set[str]) -> None:
        """Forget all others; the newest of these is then the one that a training goes on from."""
        results, indices = self._results(), self._content["checkpoint_report_indices"]
        kept = [place for place, each in enumerate(results) if each["checkpoint_dir_name"] in names]
        if len(kept) == len(results):
            return
        self._content["checkpoint_results"] = [results[place] for place in kept]
        self._content["checkpoint_report_indices"] = [indices[place] for place in kept]
        self._content["latest_checkpoint_result"] = results[kept[-1]] if kept else None
        self._checkpoints.write(_LIST, json.dumps(self._content).encode())

    def _results(self) -> list[dict[str, Any]]:
        return self._content["checkpoint_results"]


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
