"""Texts reach the terminal as they are."""

import pytest
from rich.table import Table

from pipeline.terminal import show
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
