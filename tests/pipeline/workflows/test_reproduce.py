"""From a checkpoint to the published table, and to a sweep's best, by the real stages on models of no size."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bar_model import checkpoint
from pipeline.evaluation.extract import ExtractConfig
from pipeline.features.networks import FeatureNetworksConfig
from pipeline.pretrained.inception import DIMS
from pipeline.tracking.start import TrackingConfig, start_run
from pipeline.workflows.reproduce import ReproduceConfig, reproduce
from pipeline.workflows.sweep import SweepConfig, sweep
from tests.harness.tiny import make_bar, tiny_config
from tests.pipeline.samples.test_sample import make_tokenizer

pytest_plugins = ["tests.harness.fixtures_inception", "tests.harness.fixtures_s3", "tests.harness.fixtures_ray"]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    checkpoint.save(make_bar(tiny_config(), scale=0.2), tmp_path / "weights" / "generator")
    tokenizer = make_tokenizer()
    with torch.no_grad():
        for parameter in tokenizer.parameters():
            parameter.normal_(0, 0.3)  # At initialisation all pictures are nearly the same.
    checkpoint.save(tokenizer, tmp_path / "weights" / "tokenizer")
    return tmp_path / "weights"


@pytest.fixture
def reference(tmp_path: Path) -> str:
    """Moments alone, which are quick to compare with."""
    np.savez(tmp_path / "reference.npz", mu=np.zeros(DIMS), sigma=np.eye(DIMS))
    return str(tmp_path / "reference.npz")


@pytest.fixture
def extract(inception_file: tuple[str, str]) -> ExtractConfig:
    networks = FeatureNetworksConfig(inception=inception_file[0], inception_sha256=inception_file[1])
    return ExtractConfig(networks=networks, batch_size=4, workers=1)


@pytest.fixture
def kept(tmp_path: Path) -> TrackingConfig:
    return TrackingConfig(uri=f"sqlite:///{tmp_path}/mlflow.db", spool=str(tmp_path / "spool"))


@pytest.mark.ray
@pytest.mark.slow
def test_a_checkpoint_is_judged_beside_its_published_row(
    weights: Path,
    reference: str,
    extract: ExtractConfig,
    kept: TrackingConfig,
    ray_here: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = ReproduceConfig(
        name="bar-b",
        weights=str(weights),
        generator="generator",
        tokenizer="tokenizer",
        reference=reference,
        out=str(tmp_path / "out"),
        seeds=(0, 1),
        num_images=8,
        batch_size=4,
        unit_size=4,
        workers=1,
        extract=extract,
    )
    with start_run("reproduce", kept, config, out=config.out) as run:
        assert not reproduce(config, run)
    shown = " ".join(capsys.readouterr().out.split())
    assert "near 1.13 ±" in shown
    assert "Not compared: sfid" in shown
    assert "bar-b: not reproduced" in shown
    document = json.loads((tmp_path / "out" / "report" / "report.json").read_bytes())
    assert document["protocol"]["seeds"] == [0, 1]
    assert document["protocol"]["measurement"]["labels"] == "cyclic, 0 to 4"


@pytest.mark.ray
@pytest.mark.slow
def test_a_sweep_takes_the_best_of_few_to_more(
    weights: Path,
    reference: str,
    extract: ExtractConfig,
    kept: TrackingConfig,
    ray_here: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = SweepConfig(
        generator=str(weights / "generator"),
        tokenizer=str(weights / "tokenizer"),
        reference=reference,
        out=str(tmp_path / "out"),
        guidance_scales=(2.0,),
        temperatures=(1.0, 20.0),
        allocations=("2,4",),
        num_images=4,
        finalists=1,
        final_images=8,
        batch_size=4,
        unit_size=4,
        workers=1,
        extract=extract,
    )
    with start_run("sweep", kept, config, out=config.out) as run:
        best = sweep(config, run)
    fids = {
        path.parent.parent.name: json.loads(path.read_bytes())["results"]["fid"]["value"]
        for path in (tmp_path / "out" / "4").glob("*/report/report.json")
    }
    assert len(fids) == 2
    (final,) = (tmp_path / "out" / "8").iterdir()
    assert len(set(fids.values())) == 2, "equal ones would prove nothing"
    assert final.name == min(fids, key=lambda name: fids[name]) == best.replace(" ", "-")
    capsys.readouterr()
    with start_run("sweep", kept, config, out=config.out) as run:
        assert sweep(config, run) == best
    assert " ".join(capsys.readouterr().out.split()).count("evaluated before") == 3
