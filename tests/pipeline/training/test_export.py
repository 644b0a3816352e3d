"""A checkpoint becomes a model: the best, the newest, or one by its name."""

import json
from pathlib import Path

import pytest

from bar_model import checkpoint
from bar_model.configuration import plain
from bar_model.errors import BadInput
from pipeline.execution.manifest import open_stage
from pipeline.storage import Folder
from pipeline.training.checkpoints.listing import FOLDER, SCORE, checkpoint_name
from pipeline.training.checkpoints.state import Snapshot
from pipeline.training.export import ExportConfig, export_model
from pipeline.training.output import GENERATOR_STAGE
from pipeline.training.ray_train_internals import LIST_FILE
from pipeline.training.step.optimizer import OptimizationConfig
from tests.harness.generator_training import ALONE, learner, losses, tiny_codes, tiny_training

BEST, NEWEST = checkpoint_name(1, "a"), checkpoint_name(2, "a")


@pytest.fixture(params=[None, 0.9])
def fingerprints(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The models of two checkpoints in `out`, by the names of the checkpoints; with an average and without."""
    tiny_codes(tmp_path / "codes")
    optimization = OptimizationConfig(learning_rate=1e-2, average=request.param)
    config = tiny_training(tmp_path, optimization=optimization)
    out, built = Folder(config.out), learner(config)
    open_stage(out, GENERATOR_STAGE, {"model": plain(config.model)})
    found, results = {}, []
    for step, name, score in ((1, BEST, 0.1), (2, NEWEST, 0.2)):
        losses(built, config, range(step - 1, step))
        snapshot = Snapshot(ALONE)
        tensors = built.trainees[0].state_dict().items()
        snapshot.take({f"train/{key}": tensor for key, tensor in tensors}, {"step": step})
        snapshot.write(out / FOLDER / name)
        results.append({"checkpoint_dir_name": name, "metrics": {"step": step, SCORE: score}})
        found[name] = checkpoint.fingerprint(built.result())
    listing = {"checkpoint_results": results, "checkpoint_report_indices": [0, 1]}
    (out / FOLDER).write(LIST_FILE, json.dumps(listing).encode())
    assert found[BEST] != found[NEWEST]
    return found


@pytest.mark.parametrize(("which", "name"), [("best", BEST), ("newest", NEWEST), (BEST, BEST)])
def test_the_chosen_checkpoint_becomes_the_model(
    fingerprints: dict[str, str], tmp_path: Path, which: str, name: str
) -> None:
    config = ExportConfig(out=str(tmp_path / "out"), to=str(tmp_path / "model"), which=which)
    assert export_model(config) == name
    assert checkpoint.fingerprint_of(tmp_path / "model") == fingerprints[name]
    with pytest.raises(BadInput, match="is there already: name a new folder"):
        export_model(config)


def test_what_is_no_checkpoint_is_refused(fingerprints: dict[str, str], tmp_path: Path) -> None:
    model = str(tmp_path / "model")
    with pytest.raises(
        BadInput, match=rf"has no checkpoint other: name newest, or one of {BEST} \(0\.1\), {NEWEST} \(0\.2\)"
    ):
        export_model(ExportConfig(out=str(tmp_path / "out"), to=model, which="other"))
    with pytest.raises(BadInput, match="is no output folder of a training"):
        export_model(ExportConfig(out=str(tmp_path / "codes"), to=model))
    (shard,) = (tmp_path / "out" / FOLDER / BEST).glob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(BadInput, match=r"\.safetensors is damaged"):
        export_model(ExportConfig(out=str(tmp_path / "out"), to=model))
    assert not Path(model).exists()
