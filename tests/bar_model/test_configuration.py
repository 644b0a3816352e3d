"""Configurations as JSON, as text and as a digest."""

import dataclasses
import json
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

import pytest

from bar_model.configuration import digest, from_dict, json_file, parameters, plain
from bar_model.errors import BadInput
from bar_model.generator.bar import BarConfig
from bar_model.presets import GENERATORS
from tests.harness.tiny import tiny_config


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    sizes: tuple[int, ...] = (8, 16)


@dataclass(frozen=True)
class Outer:
    name: str = "outer"
    inner: Inner = field(default_factory=Inner)
    limit: int | None = None


def test_plain_gives_json_that_from_dict_reads_back() -> None:
    outer = Outer(inner=Inner(sizes=(1, 2, 3)), limit=4)
    assert plain(outer) == {"name": "outer", "inner": {"rate": 0.5, "sizes": [1, 2, 3]}, "limit": 4}
    assert from_dict(Outer, plain(outer)) == outer


def test_plain_writes_other_values_as_text() -> None:
    assert plain({1: PurePosixPath("a/b"), "none": None}) == {"1": "a/b", "none": None}


def test_parameters_are_named_by_dotted_paths() -> None:
    expected = {"name": "outer", "inner.rate": "0.5", "inner.sizes": "[8, 16]", "limit": "null"}
    assert parameters(Outer()) == expected
    assert parameters(3) == {"value": "3"}


def test_digest_depends_on_every_value_but_not_on_the_order_of_keys() -> None:
    assert digest(Outer()) == digest(dict(reversed(plain(Outer()).items())))
    assert digest(Outer()) != digest(replace(Outer(), inner=Inner(rate=0.25)))
    assert len(digest(Outer())) == 16


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": 3}, r"outer\.name: 3 should be of type str"),
        ({"inner": {"rate": 1}}, r"outer\.inner\.sizes: missing"),
        ({"other": 1}, r"outer\.other: no such field of Outer"),
    ],
)
def test_from_dict_names_the_field_that_is_wrong(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        from_dict(Outer, {**plain(Outer()), **changes}, "outer")


def test_a_file_of_json_holds_nothing_that_is_none() -> None:
    assert json_file({"b": [1.5, "é"], "a": None}, sort_keys=True, escaped=False) == (
        b'{\n "a": null,\n "b": [\n  1.5,\n  "\xc3\xa9"\n ]\n}\n'
    )
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="not JSON compliant"):
            json_file({"metrics": {"loss": value}})


@pytest.mark.parametrize("preset", GENERATORS)
def test_configurations_survive_json(preset: str) -> None:
    config = GENERATORS[preset]()
    assert from_dict(BarConfig, json.loads(json.dumps(dataclasses.asdict(config)))) == config


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("patch", "two", r"configuration.patch: 'two' should be of type int"),
        ("patch", True, r"configuration.patch: True should be of type int"),
        ("codes", 3, r"configuration.codes: 3 should be an object"),
        ("head", {"kind": "quantum", "width": 8, "depth": 1}, r"configuration.head.kind: 'quantum' should be one of"),
    ],
)
def test_a_wrong_value_is_named(name: str, value: object, message: str) -> None:
    data = dataclasses.asdict(tiny_config()) | {name: value}
    with pytest.raises(BadInput, match=message):
        from_dict(BarConfig, data)
    del data[name]
    with pytest.raises(BadInput, match=f"configuration.{name}: missing"):
        from_dict(BarConfig, data)
