"""The manifest: one winner among runs, checked whenever it is read."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bar_model.errors import BadInput
from pipeline.execution.manifest import FileEntry, Inputs, Manifest, claimed_configuration, open_stage
from pipeline.storage import Folder
from tests.harness.damage import SHAPES, damaged, misshapen, refusal
from tests.harness.doubling import NUMBERS, Count, by_hand, count, plan

pytest_plugins = ["tests.harness.fixtures_s3"]


def test_of_two_runs_one_publishes_and_the_other_verifies(any_folder: Folder) -> None:
    by_hand(any_folder, Count().work(), plan(NUMBERS))
    assert open_stage(any_folder, "count", {"by": 2}) is None
    manifest = count(any_folder, Count().work(), plan(NUMBERS))
    # A run that began before the first was done comes to its end now: it did as much, or less, or more.
    assert manifest.commit(any_folder) == manifest
    assert replace(manifest, files=manifest.files[:-1], inputs=Inputs(9, "less")).commit(any_folder) == manifest
    other = replace(manifest, inputs=Inputs(13, "0" * 16))
    with pytest.raises(BadInput, match="another run published something else"):
        other.commit(any_folder)
    assert Manifest.read(any_folder) == manifest
    more = replace(manifest, files=(*manifest.files, FileEntry("more", "unit", 1, 1, "")), inputs=Inputs(14, "more"))
    assert more.commit(any_folder).generation == 2
    with pytest.raises(BadInput, match="another run published something else"):
        replace(manifest, files=(FileEntry("else", "unit", 1, 1, ""),)).commit(any_folder)
    assert Manifest.read(any_folder) == replace(more, generation=2)


def test_a_manifest_that_is_damaged_or_newer_is_refused(folder: Folder) -> None:
    with pytest.raises(BadInput, match="is not there"):
        Manifest.read(folder)
    folder.write("stage.json", b"{}")
    with pytest.raises(BadInput, match="has not finished"):
        Manifest.read(folder)
    folder.remove("stage.json")
    by_hand(folder, Count().work(), plan(NUMBERS))
    name = count(folder, Count().work(), plan(NUMBERS)).name
    whole = folder.read(name)
    for content in (whole[:-100], whole.replace(b'"rows": 3', b'"rows": 4', 1), b"[]"):
        folder.write(name, content)
        with pytest.raises(BadInput, match=f"{name} is damaged"):
            Manifest.read(folder)
    for version, remedy in ((3, "update this software"), (1, "make the folder anew")):
        folder.write(name, whole.replace(b'"format": 2', f'"format": {version}'.encode()))
        with pytest.raises(BadInput, match=f"has format {version}, but this version reads 2: {remedy}"):
            Manifest.read(folder)


names = st.text(st.characters(codec="utf-8"), max_size=8)


entries = st.builds(
    FileEntry, names, names, st.integers(0, 9), st.integers(0, 9), names, st.lists(names, max_size=2).map(tuple)
)


@settings(deadline=None)
@given(
    st.lists(entries, max_size=3),
    st.none() | entries,
    st.dictionaries(names, st.recursive(st.none() | st.booleans() | names, st.lists, max_leaves=3), max_size=3),
)
def test_a_manifest_comes_back_as_it_was(files: list, quarantine: FileEntry | None, configuration: dict) -> None:
    manifest = Manifest(
        stage="count",
        generation=1,
        configuration=configuration,
        inputs=Inputs(3, "abc"),
        files=tuple(files),
        quarantine=quarantine,
    )
    there = Manifest.decode(manifest.encode(), "here")
    assert there == manifest
    assert there.fingerprint == manifest.fingerprint


@pytest.mark.parametrize("content", SHAPES)
@pytest.mark.parametrize("name", ["stage.json", "manifest-000001.json"])
def test_what_is_no_document_of_a_stage_is_named(folder: Folder, name: str, content: bytes) -> None:
    by_hand(folder, Count().work(), plan(NUMBERS))
    count(folder, Count().work(), plan(NUMBERS))
    folder.write(name, content)
    with pytest.raises(BadInput, match=rf"^\S+/{name} (is damaged|has format 1,)[^\n]*$"):
        count(folder, Count().work(), plan(NUMBERS))
    if name == "stage.json":
        with pytest.raises(BadInput, match=name):
            claimed_configuration(folder, "count")


@pytest.mark.parametrize("name", ["stage.json", "manifest-000001.json"])
def test_a_folder_in_the_place_of_a_file_is_named(folder: Folder, name: str) -> None:
    by_hand(folder, Count().work(), plan(NUMBERS))
    Path(folder.path(name)).mkdir()
    with pytest.raises(BadInput, match=f"{name} is a folder, where a file has its place"):
        count(folder, Count().work(), plan(NUMBERS))


WHOLE = Manifest(
    stage="count",
    generation=1,
    configuration={"by": 2},
    inputs=Inputs(3, "abc"),
    files=(FileEntry("a", "u", 1, 2, "s", ("k",)), FileEntry("b", "v", 1, 2, "t")),
    quarantine=FileEntry("c", "w", 1, 2, "r"),
)


@settings(deadline=None, max_examples=300)
@given(damaged(WHOLE.encode()) | misshapen(WHOLE.encode()))
def test_a_damaged_manifest_is_whole_or_named(data: bytes) -> None:
    refused = refusal(lambda: Manifest.decode(data, "here"))
    assert refused.startswith("here ") if refused is not None else Manifest.decode(data, "here") == WHOLE


CLAIM = json.dumps({"format": 2, "stage": "count", "configuration": {"by": 2, "views": ["crop"]}}).encode()


@settings(deadline=None, max_examples=200)
@given(damaged(CLAIM) | misshapen(CLAIM))
def test_a_damaged_claim_is_the_same_or_named(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = Folder(str(tmp_path_factory.mktemp("claimed")))
    folder.write("stage.json", data)
    refusal(lambda: open_stage(folder, "count", {"by": 2, "views": ["crop"]}))
    refusal(lambda: claimed_configuration(folder, "count"))
