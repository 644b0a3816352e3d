"""A unit becomes one whole file, once, even if two runs work on it."""

import json

import numpy as np
import pytest

from bar_model.errors import BadInput
from pipeline.execution.unit import finish_unit
from pipeline.storage import Folder
from tests.harness.doubling import NUMBERS, Count, by_hand, count, plan

pytest_plugins = ["tests.harness.fixtures_s3"]


def test_a_damaged_file_is_named(folder: Folder) -> None:
    by_hand(folder, Count().work(), plan(NUMBERS))
    name = folder.list("count-*")[1].name
    folder.write(name, b"{")
    with pytest.raises(BadInput, match=f"{name} is damaged .it is no JSON.: remove it"):
        count(folder, Count().work(), plan(NUMBERS))


def test_a_file_that_another_run_made_stays(folder: Folder) -> None:
    work, unit = Count().work(), plan([[1, 2]])[0]
    row = {"doubled": np.array([2, 4]), "bad": "[]"}
    first = finish_unit(folder, work, unit, row)
    again = finish_unit(folder, work, unit, {"doubled": np.array([2, 5]), "bad": "[]"})
    assert again == first
    assert json.loads(folder.read(first.file.name))["numbers"] == [2, 4]
