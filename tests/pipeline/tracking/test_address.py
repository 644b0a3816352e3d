"""An address is pure data."""

import copy
from pathlib import Path

import pytest

from pipeline.tracking.address import RunAddress
from pipeline.tracking.outbox import address_in, journal_header


def test_an_address_travels_and_leaves_nothing(tmp_path: Path) -> None:
    spools = tmp_path / "spools"
    address = RunAddress(key="key", name="train", uri="sqlite:///mlflow.db", experiment="bar", spool=str(spools))
    assert copy.deepcopy(address) == address  # Copied as by pickling.
    assert address.folder == spools / "key"
    assert address_in(journal_header(address), address.folder) == address
    assert not spools.exists()


def test_a_spool_folder_may_lie_below_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    address = RunAddress(key="key", name="train", uri="sqlite:///mlflow.db", experiment="bar", spool="~/spools")
    assert address.folder == Path("/home/someone/spools/key")
