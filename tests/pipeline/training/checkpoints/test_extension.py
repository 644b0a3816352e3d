"""More steps than at first: where the steps done stay what they were, and nowhere else; all without Ray."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from bar_model.errors import BadInput
from pipeline.execution.manifest import claimed_configuration, open_stage
from pipeline.storage import Folder
from pipeline.training.checkpoints.extension import with_more_steps
from pipeline.training.checkpoints.listing import listed_in, step_of
from pipeline.training.config import TrainingConfig
from pipeline.training.output import GENERATOR_STAGE
from pipeline.training.step.optimizer import OptimizationConfig
from tests.harness.checkpoint_folders import write_checkpoints
from tests.harness.generator_training import learner, losses, tiny_codes, tiny_training


def schedule(name: Any, **changes: Any) -> OptimizationConfig:
    return OptimizationConfig(learning_rate=1e-2, schedule=name, **changes)


CONSTANT, FALLING = schedule("constant"), schedule("warmup-stable-decay", decay=0.25)


def begun(folder: Path, *steps: int, **changes: Any) -> TrainingConfig:
    """A training of twelve steps in `out`, with checkpoints of these steps."""
    config = tiny_training(folder, **changes)
    open_stage(Folder(config.out), GENERATOR_STAGE, config.recipe())
    write_checkpoints(Folder(config.out), *steps)
    return config


def extended(config: TrainingConfig, **changes: Any) -> tuple[TrainingConfig, dict[str, Any]]:
    wanted = dataclasses.replace(config, **changes)
    found, recipe = with_more_steps(wanted, GENERATOR_STAGE, wanted.recipe())
    return found, dict(recipe)


def kept(config: TrainingConfig) -> list[int]:
    return [step_of(each) for each in listed_in(Folder(config.out))]


def test_a_constant_one_goes_on_and_shares_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = begun(tmp_path, 9, 12, optimization=CONSTANT)
    for steps in (20, 20, 31):  # The same command again, and once more steps.
        found, recipe = extended(config, steps=steps)
        assert (found.steps, found.horizon) == (steps, 12)
        assert json.loads(json.dumps(recipe)) == claimed_configuration(Folder(config.out), GENERATOR_STAGE)
        assert kept(config) == [9, 12]
    told = capsys.readouterr().out
    assert "extended from 12 to 20 steps; shares of the run stay those of 12 steps" in told
    assert told.count("extended") == 2
    assert extended(config)[1] == config.recipe()  # Fewer again: the folder's recipe then refuses it.


def test_a_falling_one_goes_on_from_before_its_fall(tmp_path: Path) -> None:
    config = begun(tmp_path, 6, 9, 11, 12, optimization=FALLING)
    assert config.fall_begins == 9
    found, _ = extended(config, steps=20)
    assert kept(config) == [6, 9]
    assert found.fall_begins == 17
    later = begun(tmp_path / "late", 11, 12, optimization=FALLING)
    with pytest.raises(BadInput, match=r"has no checkpoint of step 9 or before.*--init .*late/out/model"):
        extended(later, steps=20)
    assert kept(later) == [11, 12]


def test_a_cosine_is_refused_with_the_remedy(tmp_path: Path) -> None:
    config = begun(tmp_path, 12)
    with pytest.raises(BadInput, match=r"steps 20: .* for 12 steps along a cosine.*begin a new training with --init"):
        extended(config, steps=20)
    assert claimed_configuration(Folder(config.out), GENERATOR_STAGE) == config.recipe()


@pytest.mark.parametrize("changes", [{"steps": 20, "seed": 2}, {"steps": 20, "schedule_steps": 15}, {"steps": 8}])
def test_what_differs_in_more_is_left_to_be_refused(tmp_path: Path, changes: dict[str, int]) -> None:
    config = begun(tmp_path, 12, optimization=CONSTANT)
    recipe = dataclasses.replace(config, **changes).recipe()
    assert extended(config, **changes)[1] == recipe
    with pytest.raises(BadInput, match="was made with another configuration"):
        open_stage(Folder(config.out), GENERATOR_STAGE, recipe)


def test_recipes_of_older_trainings_are_what_they_were(tmp_path: Path) -> None:
    recipe = tiny_training(tmp_path).recipe()
    assert "schedule_steps" not in recipe
    assert not {"schedule", "decay"} & recipe["optimization"].keys()
    assert "decay" not in tiny_training(tmp_path, optimization=CONSTANT).recipe()["optimization"]


@pytest.mark.parametrize("optimization", [CONSTANT, FALLING], ids=lambda each: each.schedule)
def test_the_steps_done_are_those_of_the_longer_training_bit_for_bit(
    tmp_path: Path, optimization: OptimizationConfig
) -> None:
    tiny_codes(tmp_path / "codes")
    short = tiny_training(tmp_path, optimization=optimization)
    long = dataclasses.replace(short, steps=20, schedule_steps=12)
    done = short.fall_begins or 12
    begun, whole = learner(short), learner(long)
    assert losses(begun, short, range(done)) == losses(whole, long, range(done))
    ours, theirs = (dict(each.trainees[0].state_dict()) for each in (begun, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    rates = [whole.trainees[0].learning_rate_at(step) for step in range(20)]
    assert rates[3:17] == [1e-2] * 14
    assert (rates[19] < 1e-2) is (optimization is FALLING)


def test_with_no_share_at_work_it_is_the_training_that_was_begun_with_more_steps(tmp_path: Path) -> None:
    tiny_codes(tmp_path / "codes")
    from pipeline.training.learners.order_annealing import OrderAnnealing

    free = {"optimization": schedule("constant", warmup=0.0), "order": OrderAnnealing(random_until=0, raster_from=0)}
    short, long = (tiny_training(tmp_path, steps=steps, **free) for steps in (12, 20))
    on = dataclasses.replace(long, schedule_steps=12)
    assert losses(learner(on), on, range(20)) == losses(learner(long), long, range(20))
    assert losses(learner(short), short, range(12)) == losses(learner(long), long, range(12))
