"""The quarantine: read as it was written, and checked whenever it is read."""

from dataclasses import replace

import pytest

from bar_model.errors import BadInput
from pipeline.execution.manifest import Inputs, Manifest, Quarantined
from pipeline.execution.quarantine import read_quarantine, write_quarantine
from pipeline.storage import Folder
from pipeline.tables import read_parquet

pytest_plugins = ["tests.harness.fixtures_s3"]


def test_the_quarantine_is_checked(folder: Folder) -> None:
    table = write_quarantine(folder, {"a": [Quarantined("k", "w\n", "y")], "b": []})
    manifest = Manifest(stage="count", generation=1, configuration={}, inputs=Inputs(1, ""), files=(), quarantine=table)
    assert read_quarantine(folder, manifest) == {"a": (Quarantined("k", "w\n", "y"),)}
    assert table is not None
    assert read_parquet(folder.read(table.name), "here").column_names == ["file", "key", "where", "why"]
    passing = {"a": (Quarantined("k", "w", "y", True), Quarantined("l", "w", "y"))}
    other = replace(manifest, quarantine=write_quarantine(folder, passing))
    assert read_quarantine(folder, other) == passing
    folder.write(table.name, b"other")
    with pytest.raises(BadInput, match="its checksum differs"):
        read_quarantine(folder, manifest)
    folder.remove(table.name)
    with pytest.raises(BadInput, match="is missing"):
        read_quarantine(folder, manifest)
    assert write_quarantine(folder, {"a": ()}) is None
