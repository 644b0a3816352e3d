"""Sweeps: every setting is tried, and the best goes on to more samples."""

import json
from pathlib import Path

import pytest

from bar_model.errors import BadInput
from bar_model.generator.sampling import Sampling
from pipeline.evaluation.extract import ExtractConfig
from pipeline.tracking.start import TrackingConfig, start_run
from pipeline.workflows.sweep import SweepConfig, plot_fid, sweep
from tests.harness.reports import report

pytest_plugins = [
    "tests.harness.fixtures_workflows",
    "tests.harness.fixtures_inception",
    "tests.harness.fixtures_s3",
    "tests.harness.fixtures_ray",
]

SWEEP = SweepConfig(
    generator="g",
    tokenizer="t",
    reference="r",
    out="o",
    guidance_scales=(1.0, 2.0),
    temperatures=(1.5,),
    allocations=("2,2,5,7", "16"),
)


def test_a_sweep_tries_every_setting_by_a_seed_of_its_own() -> None:
    assert len(SWEEP.settings) == 4
    setting = SWEEP.settings["guidance 2 temperature 1.5 bits 2.2.5.7"]
    assert setting == Sampling(guidance_scale=2.0, temperature=1.5, allocation=(2, 2, 5, 7))
    fields = {name: getattr(SWEEP, name) for name in ("generator", "tokenizer", "reference", "out", "guidance_scales")}
    for change, message in [
        ({"temperatures": (1.0,), "allocations": ("2",), "seed": 1}, "must not be chosen by a seed of final reports"),
        ({"temperatures": (1.0,), "allocations": ("2,x",)}, "give numbers of bits"),
        ({"temperatures": (), "allocations": ("2",)}, "there are no more than 0 settings"),
    ]:
        with pytest.raises(BadInput, match=message):
            SweepConfig(**fields, **change)


def test_the_picture_of_a_sweep_is_a_picture() -> None:
    reports = {name: report(float(index)) for index, name in enumerate(SWEEP.settings)}
    drawn = plot_fid("Few", SWEEP.settings, reports)
    assert drawn.shape[2] == 3
    assert len(set(map(tuple, drawn.reshape(-1, 3).tolist()))) > 10


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
