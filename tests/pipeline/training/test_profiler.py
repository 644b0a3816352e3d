"""A trace holds the steps that were configured, and lies in the output folder and with the run."""

import gzip
import json
from pathlib import Path

import pytest

from pipeline.training.config import Cadence
from pipeline.training.profiler import StepProfiler
from pipeline.training.step.ranks import Ranks
from tests.harness.generator_training import ALONE, learner, losses, tiny_codes, tiny_training


@pytest.mark.long
def test_three_steps_are_traced_once(tmp_path: Path) -> None:
    tiny_codes(tmp_path / "codes")
    config = tiny_training(tmp_path, cadence=Cadence(trace_at=2))
    kept = {}

    class Kept:
        def artifact(self, name: str, data: bytes) -> None:
            kept[name] = data

    built = learner(config)
    profilers = [StepProfiler(config, ALONE, Kept()), StepProfiler(config, Ranks(rank=1, num=2), None)]  # pyright: ignore[reportArgumentType]
    for step in range(8):
        losses(built, config, range(step, step + 1))
        for profiler in profilers:
            profiler.advance(step + 1)
    (file,) = Path(config.out).rglob("*.gz")
    assert str(file.relative_to(config.out)) == "traces/steps-4-6.json.gz"
    assert kept == {"traces/steps-4-6.json.gz": file.read_bytes()}
    events = json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]
    optimizer_steps = [event for event in events if event.get("name", "").startswith("Optimizer.step#")]
    assert len(optimizer_steps) == 3
