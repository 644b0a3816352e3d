"""Every number that a job takes has a range: of each configuration, each field is tried with what it can't take."""

import dataclasses
import importlib
import math
from collections.abc import Iterator
from typing import Any, get_type_hints

import pytest
import tyro

from bar_model.errors import BadInput
from bar_model.ranges import Range, ranged_fields
from tests.harness.repository import REPOSITORY

JOBS = sorted(path.stem for path in (REPOSITORY / "jobs").glob("*.py") if path.stem != "__init__")
SENSELESS = {int: (-1, -(10**30), 10**30, 10**400, True), float: (math.nan, math.inf, -math.inf, -1.0, -1e-9)}


def presets() -> Iterator[Any]:
    """The configuration of every preset of every job, and of the jobs without presets."""
    for name in JOBS:
        module = importlib.import_module(f"jobs.{name}")
        tables = [
            each for each in vars(module).values() if isinstance(each, dict) and all(map(callable, each.values()))
        ]
        tables = [each for each in tables if each and all(isinstance(key, str) for key in each)]
        for table in tables:
            yield from (preset() for preset in table.values())
        if not tables:
            kind = get_type_hints(module.main)["config"]
            fields = dataclasses.fields(kind)
            needed = [each.name for each in fields if each.default is each.default_factory is dataclasses.MISSING]
            yield kind(**dict.fromkeys(needed, tyro.MISSING))


def parts(configuration: Any) -> Iterator[Any]:
    """A configuration and all that it consists of."""
    yield configuration
    for field in dataclasses.fields(configuration):
        if dataclasses.is_dataclass(value := getattr(configuration, field.name)):
            yield from parts(value)


CONFIGURATIONS = list({type(part): part for preset in presets() for part in parts(preset)}.values())
FIELDS = [(each, name) for each in CONFIGURATIONS for name in ranged_fields(type(each))]


def test_the_walk_reaches_every_job() -> None:
    names = {type(each).__name__ for each in CONFIGURATIONS}
    assert {"TrainConfig", "TrainTokenizerConfig", "SampleConfig", "EvaluateConfig", "InspectCodesConfig"} <= names
    assert {"OptimizationConfig", "Cadence", "ClusterConfig", "TransformerConfig", "SemanticConfig"} <= names
    assert len(JOBS) == 12
    assert len(FIELDS) > 90


@pytest.mark.parametrize(("configuration", "name"), FIELDS, ids=lambda each: str(getattr(each, "__class__", each)))
def test_no_number_is_taken_that_is_none_of_its_range(configuration: Any, name: str) -> None:
    ranges = ranged_fields(type(configuration))[name]
    assert all(each != Range() for each in ranges.values()), f"{name}: state a range in the field's type"
    for value in (each for kind in ranges for each in SENSELESS[kind]):
        present = getattr(configuration, name)
        given = (*present[:-1], value) if isinstance(present, tuple) else value
        with pytest.raises(BadInput, match=rf"^{name} .*must be ") as caught:
            dataclasses.replace(configuration, **{name: given})
        assert "\n" not in str(caught.value)
