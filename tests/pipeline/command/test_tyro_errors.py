"""tyro's refusals come as one line in our words, whatever it would print."""

from dataclasses import dataclass
from typing import Literal

import pytest
import tyro

from bar_model.errors import BadInput
from pipeline.command.tyro_errors import refusing


@dataclass
class Config:
    out: str
    num: int = 1
    order: Literal["raster", "random"] = "raster"
    rows: int | Literal["auto"] | None = None

    def __post_init__(self) -> None:
        if self.num == 13:
            raise ValueError("13 is\n  unlucky")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "missing: --out"),
        (["--out"], "--out needs a value: `paint --help` says which"),
        (["--out", "x", "--num", "many"], "--num: invalid literal for int() with base 10: 'many'"),
        (["--out", "x", "--order", "zigzag"], "--order can't be 'zigzag': choose from raster, random"),
        (["--out", "x", "--rows", "many"], "--rows: 'many' is none of None, INT, auto"),
        (["--out", "x", "--nim", "1"], "unknown option '--nim' (near --nim): `paint --help` lists them"),
        (["--out", "x", "--num", "13"], "13 is unlucky"),
    ],
)
def test_each_kind_of_refusal_is_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadInput) as caught, refusing("paint", lambda option: f" (near {option})"):
        tyro.cli(Config, args=words)
    assert str(caught.value) == message
    assert capsys.readouterr() == ("", "")


def test_a_sound_line_passes_and_outside_of_the_block_tyro_is_as_it_was() -> None:
    with refusing("paint", str):
        assert tyro.cli(Config, args=["--out", "x"]) == Config("x")
    with pytest.raises(SystemExit):
        tyro.cli(Config, args=[])
