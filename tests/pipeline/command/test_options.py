"""Words become configurations: presets, files over them, options over both, and numbers as people write them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import tyro

from bar_model.errors import BadInput
from pipeline.command.options import parse_config, parse_preset


@dataclass(frozen=True, kw_only=True)
class Rows:
    rows: int | Literal["auto"] | None = None


@dataclass(frozen=True, kw_only=True)
class PlainConfig:
    """What a job without presets takes."""

    folder: tyro.conf.Positional[str]
    to: str
    num: int = 64


@dataclass(frozen=True, kw_only=True)
class PaintConfig:
    out: str
    sources: tuple[str, ...]
    steps: int = 100


def open_paint() -> PaintConfig:
    """To be filled in."""
    return PaintConfig(out=tyro.MISSING, sources=tyro.MISSING)


def rows(*given: str) -> int | str | None:
    return parse_config(Rows, list(given), program="rows", about="").configuration.rows


def paint(*given: str) -> PaintConfig:
    presets = {"open": open_paint}
    return parse_preset(presets, ["open", *given], program="paint", about="Paints.").configuration


def plain(*given: str) -> PlainConfig:
    return parse_config(PlainConfig, list(given), program="plain", about="Does.").configuration


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ("100", 100),
        ("100_000", 100_000),
        ("1e5", 100_000),
        ("2.5e3", 2500),
        ("-3", -3),
        ("auto", "auto"),
        ("None", None),
    ],
)
def test_whole_numbers_are_read_as_people_write_them(words: str, number: int | str | None) -> None:
    assert rows("--rows", words) == number


@pytest.mark.parametrize("words", ["many", "1.5", "nan", "inf", "1e400", "12345678901234567890.0"])
def test_of_several_types_all_are_named(words: str) -> None:
    with pytest.raises(BadInput, match=rf"--rows: '{words}' is none of None, INT, auto$"):
        rows("--rows", words)


def test_a_plain_job_says_what_is_missing_and_takes_its_argument_first() -> None:
    assert plain("there", "--to", "here", "--num", "1e2") == PlainConfig(folder="there", to="here", num=100)
    with pytest.raises(BadInput, match=r"^missing: FOLDER, --to$|^missing: .*--to"):
        plain()


def test_what_has_to_be_given_is_printed_as_missing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        paint("--print-config", "--steps", "7")
    printed = capsys.readouterr().out
    assert printed == ("out: ???  # missing: has to be given\nsources: ???  # missing: has to be given\nsteps: 7\n")
    with pytest.raises(SystemExit):
        plain("--print-config")
    assert capsys.readouterr().out.startswith("folder: ???  # missing")


def test_what_is_printed_can_be_given_back_and_options_win(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        paint("--print-config", "--steps", "7", "--sources", "a", "b")
    file = tmp_path / "paint.yaml"
    file.write_text(capsys.readouterr().out)
    assert paint("--config", str(file), "--out", "c") == PaintConfig(out="c", sources=("a", "b"), steps=7)
    assert paint(f"--config={file}", "--out", "c", "--steps", "8").steps == 8
    with pytest.raises(BadInput, match="missing: --out"):
        paint("--config", str(file))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--config"], "--config needs a file"),
        (["--config", "--steps"], "--config needs a file"),
        (["--config", "a", "--config", "b"], "--config is given twice"),
        (["--config", "nowhere.yaml"], "--config nowhere.yaml is not there"),
    ],
)
def test_a_wrong_config_option_is_one_line(given: list[str], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        paint(*given)
