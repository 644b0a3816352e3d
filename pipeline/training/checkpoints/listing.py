"""The checkpoints of a training: folders of state, of which Ray Train keeps a list.

By the name and the storage of the run, Ray Train finds the newest checkpoint again, so that the same command goes on.
Two gaps are closed here. Ray Train never removes a folder whose writing was interrupted. And it keeps either the newest
checkpoints or the best ones, not both. So it is configured to keep all of them. Those that are no longer needed are
removed here, and the list is brought up to date before the next start.
"""

from collections.abc import Mapping, Sequence, Set
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from bar_model.errors import BadInput
from pipeline.storage import Folder
from pipeline.training.checkpoints.filesystem import remove_folder
from pipeline.training.checkpoints.state import RESUME_REMEDY, check_state
from pipeline.training.ray_train_internals import LIST_FILE, CheckpointList

FOLDER = "checkpoints"
"""Name of the folder of checkpoints below the output folder of a training; for Ray Train, the name of the run."""
SCORE = "score"
"""Metric by which the best checkpoints are kept, the lower the better; one without it is never among the best."""

_PREFIX = "step-"


class CheckpointEntry(NamedTuple):
    """A checkpoint that all ranks have finished: the name of its folder, and its score where one was measured."""

    name: str
    score: float | None

    @staticmethod
    def of(path: str, metrics: Mapping[str, Any]) -> "CheckpointEntry":
        """The entry of a checkpoint's folder and of the metrics that were reported with it."""
        return CheckpointEntry(PurePosixPath(path).name, metrics.get(SCORE))


def checkpoint_name(step: int, attempt: str) -> str:
    """The name of a checkpoint's folder; each attempt at a step has its own."""
    return f"{_PREFIX}{step:08d}-{attempt}"


def step_of(entry: CheckpointEntry) -> int:
    """The number of steps after which a checkpoint was made, by its name."""
    return int(entry.name.removeprefix(_PREFIX).partition("-")[0])


def worth_keeping(
    entries: Sequence[CheckpointEntry], *, newest: int, best: int, pinned: int | None = None
) -> list[CheckpointEntry]:
    """The `newest` last ones of these entries and, of all entries, the `best` with the lowest score, in their order.

    The last one of step `pinned` is kept, too.
    """
    scored = [each for each in entries if each.score is not None]
    of_step = [] if pinned is None else [each for each in entries if step_of(each) == pinned]
    chosen = {*entries[-newest:], *sorted(scored, key=lambda each: each.score or 0.0)[:best], *of_step[-1:]}
    return [each for each in entries if each in chosen]


def listed_in(out: Folder) -> list[CheckpointEntry]:
    """All checkpoints that Ray Train lists, from the oldest to the newest; some may have been removed.

    Raises:
        BadInput: the list is damaged.
    """
    return _entries(CheckpointList(out / FOLDER))


def remove(out: Folder, name: str) -> None:
    """Removes a checkpoint, or what is left of one.

    Raises:
        FileNotFoundError: there is none of this name.
    """
    remove_folder(out / FOLDER / name)


def tidy(out: Folder) -> list[CheckpointEntry]:
    """Makes Ray Train's list and the folders agree, and returns what is then listed, from the oldest to the newest.

    A folder that the list does not name was interrupted while it was written or removed: it is removed. A name without
    a folder is taken from the list, unless it is the newest.

    Raises:
        BadInput: the list is damaged or missing, or the newest checkpoint is missing.
    """
    checkpoints = out / FOLDER
    if not checkpoints.exists():
        return []
    listing = CheckpointList(checkpoints)
    there = {name for name in checkpoints.folders() if name.startswith(_PREFIX)}
    if not checkpoints.exists(LIST_FILE):
        _refuse_lost_list(checkpoints, there)
    entries = _entries(listing)
    for name in there - {each.name for each in entries}:
        remove(out, name)
    if entries and entries[-1].name not in there:
        raise BadInput(f"{checkpoints.path(entries[-1].name)}, the newest checkpoint, is missing: {RESUME_REMEDY}")
    listing.keep(there)
    return _entries(listing)


def keep_only(out: Folder, names: Set[str]) -> None:
    """Takes all other checkpoints from Ray Train's list; `tidy` then removes their folders.

    Raises:
        BadInput: the list is damaged.
    """
    CheckpointList(out / FOLDER).keep(names)


def drop_damaged(out: Folder) -> None:
    """Removes the newest checkpoints from the list until one is whole, and prints why for each.

    Raises:
        BadInput: the list is damaged, or no checkpoint is whole.
    """
    checkpoints = out / FOLDER
    if not checkpoints.exists():
        return
    listing = CheckpointList(checkpoints)
    names = [each.name for each in _entries(listing)]
    any_listed = bool(names)
    while names:
        try:
            check_state(checkpoints / names[-1], contents=True)
            break
        except BadInput as error:
            print(f"a damaged checkpoint is skipped and removed: {error}", flush=True)
            names.pop()
    if any_listed and not names:
        raise BadInput(f"{checkpoints} has no whole checkpoint: restore one, or choose another output folder")
    listing.keep(set(names))


def _entries(listing: CheckpointList) -> list[CheckpointEntry]:
    entries = [CheckpointEntry.of(each.folder, each.metrics) for each in listing.entries]
    for each in entries:
        if not isinstance(each.score, int | float | None):
            raise BadInput(f"{LIST_FILE} is damaged: the score of {each.name} is no number; restore it")
    return entries


def _refuse_lost_list(checkpoints: Folder, names: set[str]) -> None:
    """Refuses a missing list of several checkpoints: a kill before the first list leaves one whole checkpoint at most.

    Raises:
        BadInput: more than one of these checkpoints is whole.
    """
    whole = sorted(name for name in names if _is_whole(checkpoints / name))
    if len(whole) > 1:
        raise BadInput(
            f"{checkpoints.path(LIST_FILE)} is missing, the list of {len(whole)} checkpoints ({', '.join(whole)}): "
            f"restore it, or remove {checkpoints} to begin anew"
        )


def _is_whole(checkpoint: Folder) -> bool:
    """Whether all files of a checkpoint are there with their sizes."""
    try:
        check_state(checkpoint, contents=False)
    except BadInput:
        return False
    return True
