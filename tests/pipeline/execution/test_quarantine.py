"""The quarantine: read as it was written, and checked whenever it is read."""

from dataclasses import replace

import pytest

from bar_model.errors import BadInput
from pipeline.execution.manifest import Inputs, Manifest, Quarantined
from pipeline.execution.quarantine import frequent_reasons, read_quarantine, write_quarantine
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


def test_the_most_frequent_reasons_are_named_together() -> None:
    def bad(why: str, passing: bool = False) -> Quarantined:
        return Quarantined("k", "w", why, passing)

    assert frequent_reasons([]) == ""
    assert frequent_reasons([bad("is empty")]) == "1 is empty"
    many = [bad(f"is truncated ({num:,} bytes missing)") for num in range(990, 1000)]
    many += [bad("answers 503", passing=True)] * 4 + [bad("is empty")] * 5 + [bad("a"), bad("b")]
    assert frequent_reasons(many) == (
        "10 is truncated (990 bytes missing); 5 is empty; 4 answers 503; 2 for other reasons; "
        "the next run tries 4 of them again"
    )
