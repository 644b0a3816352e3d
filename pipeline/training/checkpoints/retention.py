"""Which checkpoints are kept while a training goes on: the others are removed when a new one is there."""

from collections.abc import Sequence
from typing import Any

from pipeline.storage import Folder
from pipeline.training.checkpoints.listing import FOLDER, CheckpointEntry, remove, worth_keeping


def retention(
    out: Folder, listed: Sequence[CheckpointEntry], *, newest: int, best: int, pinned: int | None = None
) -> Any:
    """A callback that Ray Train calls whenever there is a new checkpoint; it keeps the newest, the best and the pinned.

    `listed` are the checkpoints that are there already; `pinned` is a step whose checkpoint stays.
    """
    from ray.train import UserCallback

    class Retention(UserCallback):
        def __init__(self) -> None:
            self._kept = list(listed)
            self._unwanted: list[str] = []

        def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
            """Called by Ray Train once all ranks have written a checkpoint: removes what is no longer worth keeping."""
            there = [*self._kept, CheckpointEntry.of(checkpoint.path, metrics[0])]
            self._kept = worth_keeping(there, newest=newest, best=best, pinned=pinned)
            self._unwanted += [each.name for each in there if each not in self._kept]
            self._unwanted = [name for name in self._unwanted if not _removed(out, name)]

    return Retention()


def _removed(out: Folder, name: str) -> bool:
    """Removes a checkpoint and returns whether it is gone; an error does not end the training."""
    try:
        remove(out, name)
    except FileNotFoundError:
        pass
    except Exception as error:
        where = (out / FOLDER).path(name)
        print(
            f"{where} is no longer needed, but can't be removed ({error}): trying again after the next checkpoint",
            flush=True,
        )
        return False
    return True
