"""The quarantine: read as it was written, and checked whenever it is read."""

import pytest

from bar_model.errors import BadInput
from pipeline.execution.manifest import Inputs, Manifest, Quarantined
from pipeline.execution.quarantine import read_quarantine, write_quarantine
from pipeline.storage import Folder

pytest_plugins = ["tests.harness.fixtures_s3"]


def test_the_quarantine_is_checked(folder: Folder) -> None:
    table = write_quarantine(folder, {"a": [Quarantined("k", "w\n", "y")], "b": []})
    manifest = Manifest(stage="count", generation=1, configuration={}, inputs=Inputs(1, ""), files=(), quarantine=table)
    assert read_quarantine(folder, manifest) == {"a": (Quarantined("k", "w\n", "y"),)}
    assert table is not None
    folder.write(table.name, b"other")
    with pytest.raises(BadInput, match="its checksum differs"):
        read_quarantine(folder, manifest)
    folder.remove(table.name)
    with pytest.raises(BadInput, match="is missing"):
        read_quarantine(folder, manifest)
    assert write_quarantine(folder, {"a": ()}) is None
