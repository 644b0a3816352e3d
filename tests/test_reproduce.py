"""From a checkpoint to the published table and to a sweep's best, by the real stages on models of no size."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bar_model import checkpoint
from pipeline import tracking
from pipeline.extract import ExtractConfig, FeatureNetworksConfig
from pipeline.reproduce import ReproduceConfig, reproduce
from pipeline.sweep import SweepConfig, sweep
from pipeline.tracking import TrackingConfig
from tests.test_sample import make_tokenizer
from tests.tiny import make_bar, tiny_config

pytest_plugins = ["tests.fixtures_inception", "tests.fixtures_s3", "tests.fixtures_ray"]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_checkpoint_is_judged_beside_its_table_and_swept(
    inception_file: tuple[str, str], ray_here: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    checkpoint.save(make_bar(tiny_config(), scale=0.2), tmp_path / "weights" / "generator")
    checkpoint.save(make_tokenizer(), tmp_path / "weights" / "tokenizer")
    images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    np.savez(tmp_path / "reference.npz", arr_0=images)
    networks = FeatureNetworksConfig(inception=inception_file[0], inception_sha256=inception_file[1])
    extract = ExtractConfig(networks=networks, batch_size=4, workers=1)
    kept = TrackingConfig(uri=f"sqlite:///{tmp_path}/mlflow.db", spool=str(tmp_path / "spool"))
    reproducing = ReproduceConfig(
        name="bar-b",
        weights=str(tmp_path / "weights"),
        generator="generator",
        tokenizer="tokenizer",
        reference=str(tmp_path / "reference.npz"),
        out=str(tmp_path / "reproduced"),
        seeds=(0, 1),
        num_images=8,
        batch_size=4,
        unit_size=4,
        workers=1,
        extract=extract,
    )
    with tracking.start("reproduce", kept, reproducing, out=reproducing.out) as run:
        assert not reproduce(reproducing, run)
    shown = capsys.readouterr().out
    assert "near 1.13 ±" in shown
    assert "not reproduced" in shown
    document = json.loads((tmp_path / "reproduced" / "report" / "report.json").read_bytes())
    assert document["protocol"]["seeds"] == [0, 1]

    sweeping = SweepConfig(
        generator=str(tmp_path / "weights" / "generator"),
        tokenizer=str(tmp_path / "weights" / "tokenizer"),
        reference=reproducing.reference,
        out=str(tmp_path / "swept"),
        guidance_scales=(1.0, 3.0),
        temperatures=(1.0,),
        allocations=("2,4",),
        num_images=4,
        finalists=1,
        final_images=8,
        batch_size=4,
        unit_size=4,
        workers=1,
        extract=extract,
    )
    with tracking.start("sweep", kept, sweeping, out=sweeping.out) as run:
        best = sweep(sweeping, run)
    assert best in sweeping.settings
    fids = {
        path.parent.parent.name: json.loads(path.read_bytes())["results"]["fid"]["value"]
        for path in (tmp_path / "swept" / "4").glob("*/report/report.json")
    }
    assert len(fids) == 2
    (final,) = (tmp_path / "swept" / "8").iterdir()
    assert final.name == min(fids, key=lambda name: fids[name]) == best.replace(" ", "-")
    assert len(list((tmp_path / "swept" / "features").iterdir())) == 4  # The reference's is taken but once.
    capsys.readouterr()
    with tracking.start("sweep", kept, sweeping, out=sweeping.out) as run:
        assert sweep(sweeping, run) == best
    assert capsys.readouterr().out.count("evaluated before") == 3
