"""Configurations as YAML: every preset of every job comes back as it was printed; what is wrong is one line."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import tyro

from bar_model.configuration import plain
from bar_model.errors import BadInput
from bar_model.ranges import Range, check_ranges
from pipeline.command.config_file import as_yaml, overlaid, with_marks


@dataclass(frozen=True, kw_only=True)
class Optimization:
    learning_rate: Annotated[float, Range(above=0)] = 1e-3
    betas: tuple[float, float] = (0.9, 0.96)

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class PaintConfig:
    name: Annotated[str, tyro.conf.Suppress] = "quick"
    out: str
    steps: int = 100
    rows: int | Literal["auto"] | None = None
    share: int | float = 0.5
    order: Literal["raster", "random"] = "raster"
    optimization: Optimization = field(default_factory=Optimization)
    warm_up: Optimization | None = None


PAINT = PaintConfig(out="there")

ALL_PRESETS: dict[str, Callable[[], Any]] = {
    f"{kind} {name}": preset
    for kind in ("training", "tokenizer_training", "sampling", "evaluation", "tokenizing")
    for name, preset in getattr(importlib.import_module(f"pipeline.presets.{kind}"), kind.upper()).items()
}


@pytest.mark.parametrize("name", ALL_PRESETS)
def test_every_preset_comes_back_from_its_own_file(name: str, tmp_path: Path) -> None:
    preset = ALL_PRESETS[name]()
    file = tmp_path / "config.yaml"
    file.write_text(as_yaml(plain(with_marks(preset))))
    assert overlaid(preset, str(file)) == preset


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("steps: 5", {"steps": 5}),
        ("steps: 1e5", {"steps": 100_000}),
        ("steps: 1.0e5", {"steps": 100_000}),
        ("rows: auto", {"rows": "auto"}),
        ("rows: 1e2", {"rows": 100}),
        ("rows: null", {}),
        ("out: ???", {}),
        ("name: quick", {}),
        ("optimization: {learning_rate: 1}", {"optimization": Optimization(learning_rate=1.0)}),
        ("optimization:\n  betas: [0.5, 0.6]", {"optimization": Optimization(betas=(0.5, 0.6))}),
        ("warm_up: {learning_rate: 1, betas: [0.9, 0.96]}", {"warm_up": Optimization(learning_rate=1.0)}),
    ],
)
def test_a_file_changes_what_it_names(text: str, expected: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    assert overlaid(PAINT, str(file)) == replace(PAINT, **expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("step: 5", "step is no field there: choose from name, out, steps"),
        ("optimization: {rate: 1}", "optimization: rate is no field there: choose from learning_rate, betas"),
        ("steps: many", "steps: 'many' should be of type int"),
        ("steps: 1.5", "steps: 1.5 should be of type int"),
        ("steps: true", "steps: True should be of type int"),
        ("rows: none of these", "rows: 'none of these' is none of "),
        ("order: zigzag", "order: 'zigzag' should be one of 'raster', 'random'"),
        ("optimization: 5", "optimization: 5 should be an object"),
        ("optimization: {betas: 5}", "betas: 5 should be a list"),
        ("name: thorough", "name is 'thorough', but this preset is 'quick'"),
        ("- a\n- b", "holds no fields"),
        ("", "holds no fields"),
        ("a: [", "is no YAML"),
        ("steps: " + "9" * 5000, "is no YAML"),
        ("[" * 3000, "is no YAML"),
        ("optimization: {betas: [0.9]}", "optimization: betas: [0.9] should be a list of 2"),
        ("optimization: {betas: [0.9, true]}", "optimization: betas: True should be of type float"),
        ("optimization: {learning_rate: true}", "optimization: learning_rate: True should be of type float"),
        ("optimization: {learning_rate: .inf}", "optimization: learning_rate inf: must be a finite number above 0"),
        ("optimization: {learning_rate: 1" + "0" * 400 + "}", "a number of 401 digits is too large"),
        ("steps: null", "steps: None should be of type int"),
        ("steps: 2026-01-01", "should be of type int"),
        ("1: 2", "1 is no field there"),
        ("!!python/object/apply:os.system ['exit 1']", "is no YAML"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_it(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(BadInput) as caught:
        overlaid(PAINT, str(file))
    assert message in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "message"), [("nowhere.yaml", "is not there"), ("folder", "can't be read")])
def test_a_file_that_is_none_is_one_line(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(BadInput, match=f"--config {tmp_path}/{name} {message}"):
        overlaid(PAINT, str(tmp_path / name))
