"""Ray Train's private interfaces, all that are used: an upgrade of Ray that changes one fails here first."""

import json
from pathlib import Path

import pytest

from bar_model.errors import BadInput
from pipeline.storage import Folder
from pipeline.training.ray_train_internals import LIST_FILE, CheckpointList, ListedCheckpoint, make_trainer
from tests.harness.checkpoint_folders import listing_of, write_checkpoints


def test_a_list_is_read_and_shortened(tmp_path: Path) -> None:
    out = Folder(str(tmp_path))
    names = write_checkpoints(out, 10, 20, 30)
    listing = CheckpointList(out / "checkpoints")
    assert listing.entries == [ListedCheckpoint(name, {"step": 1}) for name in names]
    listing.keep({names[0], names[1], "unknown"})
    content = listing_of(out)
    assert [each["checkpoint_dir_name"] for each in content["checkpoint_results"]] == names[:2]
    assert content["checkpoint_report_indices"] == [0, 1]
    assert content["latest_checkpoint_result"]["checkpoint_dir_name"] == names[1]
    assert content["ray_version"] == "of today"
    (out / "checkpoints").write(LIST_FILE, b'{"checkpoint_results": [{}]}')
    with pytest.raises(BadInput, match=f"{LIST_FILE} is damaged .*: restore it, or remove"):
        CheckpointList(out / "checkpoints")


@pytest.mark.long
def test_ray_train_reads_and_writes_the_list_as_it_is_known_here(tmp_path: Path) -> None:
    from ray.train.v2._internal.constants import CHECKPOINT_MANAGER_SNAPSHOT_FILENAME
    from ray.train.v2._internal.execution.checkpoint.checkpoint_manager import _CheckpointManagerState

    assert CHECKPOINT_MANAGER_SNAPSHOT_FILENAME == LIST_FILE
    fields = {
        "checkpoint_results": [{"checkpoint_dir_name": name, "metrics": {"step": 1}} for name in ("a", "b", "c")],
        "checkpoint_report_indices": [0, 1, 2],
        "latest_checkpoint_result": {"checkpoint_dir_name": "c", "metrics": {"step": 1}},
        "pending_training_results": [],
        "pending_validation_specs": [],
        "current_report_index": 3,
        "validated_checkpoint_dir_names": [],
        "timed_out_validation_checkpoint_dir_names": [],
        "failed_validation_checkpoint_dir_names": [],
    }
    out = Folder(str(tmp_path))
    out.write(LIST_FILE, _CheckpointManagerState(**fields).model_dump_json().encode())
    CheckpointList(out).keep({"a", "b"})
    state = _CheckpointManagerState(**json.loads(out.read(LIST_FILE)))
    assert [each.checkpoint_dir_name for each in state.checkpoint_results] == ["a", "b"]
    assert state.latest_checkpoint_result is not None
    assert state.latest_checkpoint_result.checkpoint_dir_name == "b"


@pytest.mark.long
def test_a_worker_can_ask_where_its_run_is_kept() -> None:
    from ray.train.v2._internal.execution.storage import StorageContext
    from ray.train.v2.api.context import DistributedTrainContext

    assert callable(DistributedTrainContext.get_storage)
    assert isinstance(StorageContext.experiment_fs_path, property)
    assert "self.storage_filesystem" in Path(_source(StorageContext)).read_text()


@pytest.mark.long
def test_a_trainer_lacks_the_two_callbacks_that_start_actors(tmp_path: Path) -> None:
    from ray.train import RunConfig
    from ray.train.torch import TorchTrainer
    from ray.train.v2._internal.callbacks import DatasetsCallback
    from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback

    unwanted = {DatasetsCallback, PlacementGroupCleanerCallback}
    given = {"train_loop_per_worker": print, "run_config": RunConfig(storage_path=str(tmp_path))}
    usual, ours = (
        {type(each) for each in trainer._create_default_callbacks()}
        for trainer in (TorchTrainer(**given), make_trainer(**given))
    )
    assert unwanted <= usual
    assert ours == usual - unwanted


def _source(kind: type) -> str:
    import inspect

    return str(inspect.getsourcefile(kind))
