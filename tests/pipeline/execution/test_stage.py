"""A stage does what is not done yet, keeps bad items apart, and refuses what does not belong to it."""

from dataclasses import replace
from pathlib import Path

import pytest

from bar_model.errors import BadInput
from pipeline.execution.manifest import Manifest, Quarantined, open_stage
from pipeline.execution.quarantine import read_quarantine
from pipeline.storage import Folder
from tests.harness.doubling import NUMBERS, Count, by_hand, contents, count, plan

pytest_plugins = ["tests.harness.fixtures_s3", "tests.harness.fixtures_ray"]


@pytest.mark.ray
def test_what_is_done_is_not_done_again(folder: Folder, tmp_path: Path, ray_here: str) -> None:
    log = tmp_path / "log"
    work = Count(str(log)).work()
    by_hand(folder, work, plan(NUMBERS)[:4])
    log.unlink()
    manifest = count(folder, work, plan(NUMBERS))
    assert sorted(log.read_text().split()) == ["4", "5"]
    log.unlink()
    assert count(folder, work, plan(NUMBERS)) == manifest
    assert not log.exists()
    assert len(folder.list("manifest-*.json")) == 1

    before = contents(folder)
    folder.remove(manifest.files[2].name)
    assert count(folder, work, plan(NUMBERS)) == manifest
    assert log.read_text().split() == ["2"]
    assert contents(folder) == before


@pytest.mark.ray
def test_bad_items_are_kept_apart_and_too_many_end_the_run(folder: Folder, ray_here: str) -> None:
    numbers = [[1, -2, 3], [4, 5], [-6, 7]]
    with pytest.raises(BadInput, match=r"of 7 numbers can't be used, more than the share of 0.2 .*is negative"):
        count(folder, Count().work(), plan(numbers), max_bad=0.2)
    assert not folder.list("manifest-*")
    manifest = count(folder, Count().work(), plan(numbers), max_bad=0.3)
    assert manifest.num_quarantined == 2
    assert [[item.key for item in items] for items in read_quarantine(folder, manifest).values()] == [["-2"], ["-6"]]
    assert manifest.inputs.num == 7
    assert manifest.rows == 5
    # What is published is held against the option of today, too.
    with pytest.raises(BadInput, match=r"2 of 7 numbers can't be used, more than the share of 0.1 allowed"):
        count(folder, Count().work(), plan(numbers), max_bad=0.1)


def test_nothing_is_computed_where_all_is_done(folder: Folder) -> None:
    """No Ray here: finished units are read from their files alone."""
    work = Count().work()
    by_hand(folder, work, plan(NUMBERS))
    manifest = count(folder, replace(work, read=None, build=None), plan(NUMBERS))
    assert manifest.rows == 12
    assert manifest.num_bytes == sum(entry.size for entry in folder.list("count-*"))


def test_a_folder_of_another_configuration_is_refused(folder: Folder) -> None:
    by_hand(folder, Count().work(), plan(NUMBERS))
    count(folder, Count().work(), plan(NUMBERS), configuration={"by": 2, "views": ["crop"], "tokenizer": {"bits": 16}})
    with pytest.raises(BadInput, match=r"tokenizer.bits: 16 there, 10 here; views: \[.crop.\] there, \[\] here\)"):
        count(folder, Count().work(), plan(NUMBERS), configuration={"by": 2, "views": (), "tokenizer": {"bits": 10}})
    with pytest.raises(BadInput, match='stage: "count" there, "sample" here'):
        open_stage(folder, "sample", {"by": 2, "views": ["crop"], "tokenizer": {"bits": 16}})
    assert open_stage(folder, "count", {"by": 2, "views": ("crop",), "tokenizer": {"bits": 16}}) is not None


def test_units_that_changed_are_refused(folder: Folder) -> None:
    by_hand(folder, Count().work(), plan(NUMBERS))
    count(folder, Count().work(), plan(NUMBERS))
    with pytest.raises(BadInput, match="12 numbers that have changed since"):
        count(folder, Count().work(), plan([*NUMBERS[:-1], [10, 11, 13]]))
    with pytest.raises(BadInput, match="no numbers to work on"):
        count(folder, Count().work(), [])


def test_a_plan_that_grew_makes_a_generation_without_reading_what_is_done(folder: Folder) -> None:
    work = Count().work()
    by_hand(folder, work, plan(NUMBERS))
    first = count(folder, work, plan(NUMBERS[:4]))
    kept = replace(work, read=None, build=None)
    for file in first.files[:2]:  # A file that is opened would be damaged now.
        folder.write(file.name, b"{" * file.bytes)
    second = count(folder, kept, plan(NUMBERS))
    assert (first.generation, second.generation) == (1, 2)
    assert second.files[:4] == first.files
    assert second.rows == 12
    assert count(folder, kept, plan(NUMBERS)) == second == Manifest.read(folder)
    with pytest.raises(BadInput, match=r"12 numbers that have changed since .now 7"):
        count(folder, kept, plan(NUMBERS[:4]))


def test_items_are_dropped_without_a_file_being_made_anew(folder: Folder) -> None:
    """Whether they were of use or not."""
    work, units = Count().work(), plan([[1, -2, 3], [4, -5]])
    by_hand(folder, work, units)
    count(folder, work, units, max_bad=0.5)
    before = contents(folder)
    fewer = [replace(units[0], dropped=("-2", "3")), units[1]]
    kept = replace(work, read=None, build=None)
    manifest = count(folder, kept, fewer, max_bad=0.5)
    assert (manifest.rows, manifest.num_quarantined, manifest.inputs.num) == (2, 1, 3)
    assert manifest.files[0].dropped == ("-2", "3")
    assert read_quarantine(folder, manifest) == {
        manifest.files[1].name: (Quarantined("-5", "number/-5", "is negative"),)
    }
    assert count(folder, kept, fewer, max_bad=0.5) == manifest
    assert before.items() <= contents(folder).items()
    none = [replace(units[0], dropped=("-2", "3", "1")), units[1]]
    assert count(folder, kept, none, max_bad=0.5).generation == 3
