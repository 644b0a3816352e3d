"""A dry run says what a training takes, and leaves nothing."""

import dataclasses
import re
from pathlib import Path

import pytest
import torch

from bar_model import checkpoint
from bar_model.generator.bar import Bar
from pipeline.command.job import bad_input
from pipeline.training.config import WorkersConfig
from pipeline.training.dry_run import dry_run
from pipeline.training.learners.learner import Learner
from pipeline.training.train_generator import prepare
from tests.harness.generator_training import tiny_bar, tiny_codes, tiny_training


@pytest.mark.ray
@pytest.mark.slow
def test_a_dry_run_says_what_it_takes_and_leaves_nothing(
    ray_here: str, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_codes(tmp_path / "codes")
    checkpoint.save(Bar(tiny_bar()), tmp_path / "initial")
    monkeypatch.chdir(tmp_path)  # The workers' directory is another one.
    workers = WorkersConfig(num=2, cpus=1, micro_batch="auto")
    dry_run(prepare(tiny_training(tmp_path, codes="codes", init="initial", out="out", steps=100_000, workers=workers)))
    said = re.search(
        r"dry run: ([\d,]+) parameters learn; .* a worker; 100,000 steps would take (\S+)", capsys.readouterr().out
    )
    assert said is not None
    assert int(said[1].replace(",", "")) == sum(
        each.numel() for each in Bar(tiny_bar()).parameters() if each.requires_grad
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["codes", "initial"]


def out_of_memory(*given: object) -> Learner:
    """What a GPU says."""
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")


@pytest.mark.ray
@pytest.mark.slow
def test_a_dry_run_that_does_not_fit_is_one_line(ray_here: str, tmp_path: Path) -> None:
    tiny_codes(tmp_path / "codes")
    training = dataclasses.replace(prepare(tiny_training(tmp_path)), build=out_of_memory)
    with pytest.raises(Exception, match="out of memory") as raised:
        dry_run(training)
    assert str(bad_input(raised.value)) == (
        "dry run: the GPU's memory does not suffice (CUDA out of memory): lower --workers.micro-batch, or add "
        "--workers.recompute or --workers.sharded"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["codes"]
