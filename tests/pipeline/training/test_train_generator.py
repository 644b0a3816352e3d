"""The generator's training through Ray Train: any number of workers, a killed driver, and what is refused."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from bar_model import checkpoint
from bar_model.errors import BadInput
from pipeline.training.config import Cadence, WorkersConfig
from pipeline.training.export import ExportConfig, export_model
from pipeline.training.learners.generator import TrainConfig
from pipeline.training.step.optimizer import OptimizationConfig
from pipeline.training.train_generator import check_object_store_fits, train
from tests.harness.generator_training import NUM_CLASSES, learner, losses, tiny_bar, tiny_codes, tiny_training
from tests.harness.repository import REPOSITORY
from tests.harness.training_runs import checkpoints, curve, killable, run_training

DRIVER = """
import sys
from pathlib import Path
from tests.harness.repository import REPOSITORY
from tests.harness.training_runs import killable, run_training
from pipeline import cluster
from pipeline.cluster import ClusterConfig
with cluster.connect(ClusterConfig(address=sys.argv[1])):
    run_training(killable(Path(sys.argv[2])))
"""


pytest_plugins = ["tests.harness.fixtures_s3", "tests.harness.fixtures_ray"]


@pytest.mark.ray
def test_one_worker_and_two_learn_the_same_and_what_is_done_stays(
    ray_here: str, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    curves = []
    for num in (1, 2):
        folder = tmp_path / str(num)
        folder.mkdir()
        monkeypatch.chdir(folder)  # Paths may be relative, though workers have a directory of their own.
        tiny_codes(folder / "codes")
        tiny_codes(folder / "held_out", seed=1, num=11)
        config = tiny_training(
            folder,
            out="out",
            codes="codes",
            held_out="held_out",
            cadence=Cadence(log_every=1, validate_every=3, checkpoint_every=3, keep_checkpoints=1),
            workers=WorkersConfig(num=num, cpus=1, micro_batch=3),
        )
        trained = run_training(config)
        validation = curve(config, "validation/loss")
        best = min(validation, key=validation.__getitem__)
        assert set(checkpoints(config)) == {12, best}
        assert export_model(ExportConfig(out="out", to="best")).startswith(f"step-{best:08d}-")
        assert (checkpoint.fingerprint_of("best") == trained.fingerprint) is (best == 12)
        assert export_model(ExportConfig(out="out", to="newest", which="newest")).startswith("step-00000012-")
        assert checkpoint.fingerprint_of("newest") == trained.fingerprint
        curves.append({**curve(config), "validation": trained.metrics["validation/loss"]})
        assert trained.metrics.keys() >= {f"train/{name}" for name in ("rows_per_s", "data_share", "memory_gib")}
        model = checkpoint.load_bar(trained.model)
        assert checkpoint.fingerprint(model) == trained.fingerprint
        assert model.generate(torch.arange(NUM_CLASSES)).shape == (NUM_CLASSES, 4, 4)
    one, two = curves
    assert len(one) == 13
    assert two == pytest.approx(one, rel=1e-5)

    before = {path: path.stat().st_mtime_ns for path in Path(config.out).rglob("*")}
    assert run_training(dataclasses.replace(config, workers=WorkersConfig(num=1))) == trained
    assert "nothing to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in Path(config.out).rglob("*")} == before
    with pytest.raises(BadInput, match=r"batch: 8 there, 4 here.*choose another output folder"):
        run_training(dataclasses.replace(config, batch=4))
    (Path(config.out) / "model" / "config.json").unlink()
    with pytest.raises(BadInput, match=r"model/config\.json is missing, though this training is finished"):
        run_training(config)


@pytest.mark.ray
def test_more_steps_are_those_of_a_training_that_was_begun_with_them(
    ray_here: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    tiny_codes(tmp_path / "codes")
    optimization = OptimizationConfig(learning_rate=1e-2, schedule="warmup-stable-decay", decay=0.25)
    first = tiny_training(tmp_path, optimization=optimization, cadence=Cadence(keep_checkpoints=1))
    short = run_training(first)
    assert checkpoints(first) == [9, 12]  # That from before the fall is kept beside the newest.
    more = dataclasses.replace(first, steps=20)
    longer = run_training(more)
    assert longer.fingerprint != short.fingerprint
    told = capsys.readouterr().out
    assert "going on after step 9" in told
    assert "trained for 20 steps" in told
    assert run_training(more) == longer
    assert "nothing to do" in capsys.readouterr().out
    fresh = dataclasses.replace(more, schedule_steps=12, out=str(tmp_path / "fresh"))
    assert run_training(fresh).fingerprint == longer.fingerprint
    with pytest.raises(BadInput, match=r"steps: 20 there, 12 here"):
        run_training(first)


def start_driver(address: str, folder: Path) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", DRIVER, address, str(folder)]
    return subprocess.Popen(command, env=environment, start_new_session=True)


def await_checkpoints(driver: subprocess.Popen, config: TrainConfig, *, after: int) -> None:
    while not any(step > after for step in checkpoints(config)):
        assert driver.poll() is None
        time.sleep(0.02)


@pytest.mark.ray
def test_a_killed_driver_goes_on_where_it_was(ray_here: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """The training goes on after a kill, after SIGTERM, and with a damaged checkpoint.

    Every loss is, bit for bit, that of an undisturbed run without Ray.
    """
    from mlflow import MlflowClient

    tiny_codes(tmp_path / "codes")
    config = killable(tmp_path)
    driver = start_driver(ray_here, tmp_path)
    await_checkpoints(driver, config, after=10)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    assert not (Path(config.out) / "manifest-000001.json").exists()

    killed_after = checkpoints(config)[-1]
    driver = start_driver(ray_here, tmp_path)
    await_checkpoints(driver, config, after=killed_after)
    driver.terminate()
    assert driver.wait() == 128 + signal.SIGTERM
    *_, before, newest = checkpoints(config)
    assert newest < config.steps
    client = MlflowClient(config.tracking.uri)
    (run,) = client.search_runs([each.experiment_id for each in client.search_experiments()])
    assert run.info.status == "KILLED"

    (shard,) = (Path(config.out) / "checkpoints").glob(f"step-{newest:08d}-*/*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(BadInput, match=r"is damaged .* --resume last-whole"):
        run_training(config)
    capsys.readouterr()
    run_training(dataclasses.replace(config, resume="last-whole"))
    assert f"going on after step {before}\n" in capsys.readouterr().out
    undisturbed = learner(config)
    assert curve(config) == dict(enumerate(losses(undisturbed, config, range(config.steps)), start=1))
    results = json.loads((Path(config.out) / "results.json").read_text())
    assert results["fingerprint"] == checkpoint.fingerprint(undisturbed.result())


@pytest.mark.ray
@pytest.mark.slow
def test_workers_refuse_a_checkpoint_whose_bytes_have_changed(ray_here: str, tmp_path: Path) -> None:
    tiny_codes(tmp_path / "codes")
    config = tiny_training(tmp_path)
    trained = run_training(config)
    (Path(config.out) / "manifest-000001.json").unlink()  # As if it had been killed just before.
    (shard,) = (Path(config.out) / "checkpoints").glob("step-00000012-*/*.safetensors")
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(BadInput, match=r"SHA-256 .* --resume last-whole"):
        run_training(config)
    assert run_training(dataclasses.replace(config, resume="last-whole")).fingerprint == trained.fingerprint


@pytest.mark.ray
@pytest.mark.slow
def test_shards_of_a_model_learn_what_all_of_it_learns_compiled_too(ray_here: str, tmp_path: Path) -> None:
    tiny_codes(tmp_path / "codes")
    curves = {}
    for name, workers in {
        "whole": WorkersConfig(cpus=1),
        "sharded": WorkersConfig(num=2, cpus=1, sharded=True, micro_batch=2),
        "compiled": WorkersConfig(num=2, cpus=1, sharded=True, micro_batch=2, compiled=True),
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        config = tiny_training(
            folder,
            codes=str(tmp_path / "codes"),
            cadence=Cadence(log_every=1, checkpoint_every=6),
            workers=workers,
        )
        trained = run_training(config)
        curves[name] = curve(config)
        assert checkpoint.fingerprint(checkpoint.load_bar(trained.model)) == trained.fingerprint
        assert checkpoints(config) == [6, 12]
    assert len(curves["whole"]) == 12
    assert curves["sharded"] == pytest.approx(curves["whole"], rel=1e-5)
    assert curves["compiled"] == pytest.approx(curves["whole"], rel=1e-4)


@pytest.mark.ray
def test_workers_that_the_cluster_has_no_room_for_are_refused(ray_here: str, tmp_path: Path) -> None:
    tiny_codes(tmp_path / "codes")
    for workers in (WorkersConfig(num=4), WorkersConfig(cpus=5), WorkersConfig(gpu=True)):
        assert "do not fit into the cluster's 3 CPUs and 0 GPUs" in refused(tmp_path, workers=workers)
    with pytest.raises(BadInput, match=r"codes is 931 GiB of codes, .* room for .* MiB: name a folder"):
        check_object_store_fits("codes", 10**12)


def refused(folder: Path, **changes: object) -> str:
    with pytest.raises(BadInput) as found:
        train(tiny_training(folder, **changes))
    assert not (folder / "out").exists()
    assert "\n" not in str(found.value)
    return str(found.value)


def test_what_does_not_fit_is_refused_before_any_work(tmp_path: Path) -> None:
    codes = Path(tiny_codes(tmp_path / "codes"))
    assert "is not there" in refused(tmp_path, codes=str(tmp_path / "none"))
    other = dataclasses.replace(tiny_bar(), codes=dataclasses.replace(tiny_bar().codes, grid=4))
    assert "2 × 2 tokens of 4 bits an image, but the model is for 4 × 4 of 4" in refused(tmp_path, model=other)
    few = dataclasses.replace(tiny_bar(), num_classes=2)
    told = "has label 2 in row 2 (image-2; 10 of 30 rows are such), but the model has 2 classes, 0 to 1"
    assert told in refused(tmp_path, model=few)
    held_out = tiny_codes(tmp_path / "held_out", tokenizer="f" * 16)
    assert "was made by tokenizer" in refused(tmp_path, held_out=held_out)
    for resume in ("newest", "last-whole"):
        assert "has no checkpoint to go on from: correct --out" in refused(tmp_path, resume=resume)
    assert codes.exists()
