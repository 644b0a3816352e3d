"""More steps for a training than it was begun with: from which checkpoint it may go on, and as what.

It goes on only from where a training of so many steps would be, too. Along a cosine every step depends on how many
there are. With the other schedules the steps done stay as they were: shares of the run (the warm-up, random orders, the
adversarial loss) go on being shares of the steps that it was begun with.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bar_model.errors import BadInput
from pipeline.execution.manifest import claimed_configuration, replace_claim
from pipeline.storage import Folder
from pipeline.training.checkpoints.listing import FOLDER, keep_only, listed_in, step_of
from pipeline.training.config import TrainingConfig


def with_more_steps(
    config: TrainingConfig, stage: str, recipe: Mapping[str, Any]
) -> tuple[TrainingConfig, Mapping[str, Any]]:
    """Configuration and recipe with which the training in `config.out` takes more steps, its folder made ready for it.

    Both stay as they are where there is no such training, or where more than the number of steps differs.

    Raises:
        BadInput: its schedule can't be extended, or no checkpoint is kept from before the learning rate fell.
    """
    out = Folder(config.out)
    before = claimed_configuration(out, stage)
    if before is None or type(before.get("steps")) is not int or not _differ_in_steps(before, recipe):
        return config, recipe
    shares_of = before.get("schedule_steps") or before["steps"]
    if before["steps"] > config.steps or config.schedule_steps not in (None, shares_of):
        return config, recipe
    longer = replace(config, schedule_steps=shares_of)
    extended = {**recipe, **longer.recipe_of_steps()}
    if before["steps"] == config.steps:  # Extended before, by the same command.
        return longer, extended
    if config.optimization.schedule == "cosine":
        raise BadInput(
            f"steps {config.steps:,}: {out} was trained for {before['steps']:,} steps along a cosine, which is another "
            f"one for more steps: begin a new training with --init {out}/model, or choose optimization.schedule "
            "constant or warmup-stable-decay from the beginning, which can be extended"
        )
    _drop_fallen(out, replace(longer, steps=before["steps"]))
    replace_claim(out, stage, extended)
    print(
        f"{out}: extended from {before['steps']:,} to {config.steps:,} steps; shares of the run stay those of "
        f"{shares_of:,} steps",
        flush=True,
    )
    return longer, extended


def _differ_in_steps(before: Mapping[str, Any], recipe: Mapping[str, Any]) -> bool:
    """Whether two recipes differ, and in their numbers of steps alone."""
    here = json.loads(json.dumps(recipe))
    others = ({**each, "steps": 0, "schedule_steps": 0} for each in (before, here))
    return before != here and next(others) == next(others)


def _drop_fallen(out: Folder, config: TrainingConfig) -> None:
    """Takes the checkpoints from the list at which the learning rate had begun to fall towards the end before.

    Raises:
        BadInput: there are no others.
    """
    entries = listed_in(out) if (out / FOLDER).exists() else []
    last = config.steps if config.fall_begins is None else config.fall_begins
    there = set((out / FOLDER).folders()) if entries else set()
    usable = [each.name for each in entries if step_of(each) <= last and each.name in there]
    if not usable:
        raise BadInput(
            f"steps: {out} has no checkpoint of step {last:,} or before, from which more steps could go on: begin a "
            f"new training with --init {out}/model"
        )
    keep_only(out, set(usable))
