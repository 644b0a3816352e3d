"""Texts reach the terminal as they are."""

import io
import sys

import pytest
from rich.table import Table

from pipeline.terminal import accept_any_text, show
from tests.harness.odd_paths import ODD_PATHS


@pytest.mark.parametrize("path", [*ODD_PATHS, f"s3://bucket/{'long/' * 40}"])
def test_a_text_is_printed_as_it_is(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    show(f"{path}: 10 images", "the next line")
    assert capsys.readouterr().out == f"{path}: 10 images\nthe next line\n"


def test_a_table_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("name", "value")
    table.add_row("fid", "1.5")
    show(table)
    assert "fid" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("encoding", "shown"), [("utf-8", "a\\udcff.png: é\n".encode()), ("ascii", b"a\\udcff.png: \\xe9\n")]
)
def test_what_an_encoding_lacks_is_printed_as_an_escape(
    encoding: str, shown: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(terminal, encoding=encoding))
    accept_any_text()
    print("a\udcff.png: é", flush=True)
    assert terminal.getvalue() == shown
