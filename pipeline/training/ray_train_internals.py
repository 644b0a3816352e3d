"""Ray Train's private interfaces: all that this project uses of them, each with the public way where there is one.

An upgrade of Ray may change any of them. tests/pipeline/training/test_ray_train_internals.py names them all and fails
first.
"""

import json
from collections.abc import Set
from typing import Any, NamedTuple

from bar_model.errors import interpreting
from pipeline.storage import Folder

LIST_FILE = "checkpoint_manager_snapshot.json"
"""The file in which Ray Train keeps its list of checkpoints, below the folder of the run."""


class ListedCheckpoint(NamedTuple):
    """An entry of Ray Train's list: the name of the checkpoint's folder and the metrics that were reported with it."""

    folder: str
    metrics: dict[str, Any]


class CheckpointList:
    """Ray Train's list of the checkpoints of a run, in the order of their making.

    The public way, `Result.from_path`, reads the list. Nothing public removes an entry that is neither the newest nor
    the best by Ray Train's own rule, so the file is read and written here.
    """

    def __init__(self, checkpoints: Folder) -> None:
        """Reads the list below `checkpoints`; a list without entries where there is no file.

        Raises:
            BadInput: the file is damaged.
        """
        self._checkpoints = checkpoints
        self._content: dict[str, Any] = {"checkpoint_results": [], "checkpoint_report_indices": []}
        if not checkpoints.exists(LIST_FILE):
            return
        data, where = checkpoints.read(LIST_FILE), checkpoints.path(LIST_FILE)
        with interpreting(f"{where} is damaged", f"restore it, or remove {checkpoints} to begin anew"):
            self._content = json.loads(data)
            if not all(type(each.folder) is str and isinstance(each.metrics, dict) for each in self.entries):
                raise TypeError("an entry is a name of a folder and an object of metrics")
            if len(self._content["checkpoint_report_indices"]) != len(self.entries):
                raise ValueError("it has not an index for each entry")

    @property
    def entries(self) -> list[ListedCheckpoint]:
        """The entries, from the oldest to the newest."""
        return [ListedCheckpoint(each["checkpoint_dir_name"], each["metrics"]) for each in self._results]

    def keep(self, folders: Set[str]) -> None:
        """Removes all other entries; Ray Train then goes on from the newest of these."""
        results, indices = self._results, self._content["checkpoint_report_indices"]
        kept = [place for place, each in enumerate(results) if each["checkpoint_dir_name"] in folders]
        if len(kept) == len(results):
            return
        self._content["checkpoint_results"] = [results[place] for place in kept]
        self._content["checkpoint_report_indices"] = [indices[place] for place in kept]
        self._content["latest_checkpoint_result"] = results[kept[-1]] if kept else None
        self._checkpoints.write(LIST_FILE, json.dumps(self._content).encode())

    @property
    def _results(self) -> list[dict[str, Any]]:
        return self._content["checkpoint_results"]


class RunStorage(NamedTuple):
    """Where Ray Train keeps a run: the path of its folder in a file system of pyarrow."""

    path: str
    filesystem: Any


def run_storage() -> RunStorage:
    """The storage of the run that this worker belongs to.

    `TrainContext.get_storage` is a developer's interface. In public, a worker can hand over a local folder for upload,
    but can't learn where it goes.
    """
    from ray import train

    storage: Any = train.get_context().get_storage()
    return RunStorage(storage.experiment_fs_path, storage.storage_filesystem)


def make_trainer(*arguments: Any, **options: Any) -> Any:
    """A `TorchTrainer` that starts two actors less; there is no public switch for either.

    One actor hands out Ray datasets, and there are none here. The other removes the workers' reservations when the
    trainer is gone, which Ray also does at the end of the driver's job. It asks Ray's dashboard whether the job has
    ended. Without a dashboard, as in a local cluster, it logs an error each second and outlives a killed driver.
    """
    from ray.train.torch import TorchTrainer
    from ray.train.v2._internal.callbacks import DatasetsCallback
    from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback

    class Trainer(TorchTrainer):
        def _create_default_callbacks(self) -> list[Any]:
            unwanted = (DatasetsCallback, PlacementGroupCleanerCallback)
            return [each for each in super()._create_default_callbacks() if not isinstance(each, unwanted)]

    return Trainer(*arguments, **options)
