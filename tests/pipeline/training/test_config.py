"""Configurations of a training: what is refused, and what determines the weights."""

from pathlib import Path

import pytest

from bar_model.errors import BadInput
from pipeline.training.config import Cadence, WorkersConfig
from tests.harness.generator_training import tiny_training


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps 0"),
        ({"cadence": Cadence(trace_at=10)}, "trace_at 10: a trace takes 4 steps, and there are"),
        ({"seed": -1}, "seed -1"),
        ({"class_dropout": 1.0}, "class_dropout"),
        ({"workers": WorkersConfig(num=9)}, "too small to be shared by 9"),
    ],
)
def test_a_configuration_that_can_not_work_is_refused(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        tiny_training(tmp_path, **changes)
