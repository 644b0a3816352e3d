"""Units become whole files, once, whatever happens; the manifest tells of them."""

import json
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bar_model.errors import BadInput
from pipeline.command import bad_input
from pipeline.manifest import FileEntry, Inputs, Manifest, Quarantined, open_stage
from pipeline.quarantine import read_quarantine, write_quarantine
from pipeline.stages import run_units
from pipeline.storage import Folder
from pipeline.units import Contents, Row, Unit, Work, finish_unit
from pipeline.workers import Workers, execute

pytest_plugins = ["tests.fixtures_s3", "tests.fixtures_ray"]


class Count:
    """A stage in small: a unit's payload is a list of numbers, of which the negative ones can't be used."""

    def __init__(self, log: str | None = None) -> None:
        self.log = log

    def read(self, unit: Unit) -> Row:
        if self.log is not None:
            with Path(self.log).open("a") as file:
                file.write(f"{unit.index}\n")
        good = [number for number in unit.payload if number >= 0]
        bad = [Quarantined(str(number), f"number/{number}", "is negative") for number in unit.payload if number < 0]
        return {"numbers": np.array(good, np.int64).reshape(-1, 1), "bad": json.dumps(bad)}

    def build(self) -> "Double":
        return Double()

    def pack(self, row: Row) -> bytes:
        return json.dumps({"numbers": np.ravel(row["doubled"]).tolist(), "bad": json.loads(row["bad"])}).encode()

    def inspect(self, data: bytes) -> Contents:
        try:
            content = json.loads(data)
        except ValueError as error:
            raise BadInput("it is no JSON") from error
        return Contents(len(content["numbers"]), tuple(Quarantined(*item) for item in content["bad"]))

    def work(self) -> Work:
        return Work(
            stage="count",
            item="numbers",
            name="count-{}.json",
            read=self.read,
            build=self.build,
            pack=self.pack,
            inspect=self.inspect,
        )


class Double:
    def __call__(self, row: Row) -> Row:
        return {"doubled": row["numbers"] * 2, "bad": row["bad"]}


def plan(numbers: list[list[int]]) -> list[Unit]:
    return [Unit(index=index, size=len(some), payload=some) for index, some in enumerate(numbers)]


NUMBERS = [[1, 2, 3], [4], [], [5, 6, 7], [8, 9], [10, 11, 12]]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(str(tmp_path / "out"))


count = partial(run_units, configuration={"by": 2}, workers=Workers(num=1))


def contents(folder: Folder) -> dict[str, bytes]:
    return {entry.name: folder.read(entry.name) for entry in folder.list()}


def by_hand(folder: Folder, work: Work, units: list[Unit]) -> None:
    """The same steps without Ray."""
    step = work.build()
    for unit in units:
        finish_unit(folder, work, unit, step(work.read(unit)))


@pytest.mark.ray
def test_any_number_of_workers_gives_the_same_bytes(folder: Folder, tmp_path: Path, ray_here: str) -> None:
    manifest = count(folder, Count().work(), plan(NUMBERS))
    assert manifest.rows == 12
    assert [file.rows for file in manifest.files] == [3, 1, 0, 3, 2, 3]
    assert json.loads(folder.read(manifest.files[3].name))["numbers"] == [10, 12, 14]
    assert Manifest.read(folder) == manifest

    others = Folder(str(tmp_path / "others"))
    count(others, Count().work(), plan(NUMBERS), workers=Workers(num=2))
    assert contents(others) == contents(folder)


class Slow(Double):
    """Waits in its first unit for as long as anything is read."""

    def __init__(self, log: str) -> None:
        self.log, self.at_rest = log, False

    def __call__(self, row: Row) -> Row:
        before = -1
        while not self.at_rest:
            num = len(Path(self.log).read_text().split())
            self.at_rest, before = num == before, num
            time.sleep(1)
        return super().__call__(row) | {"bad": json.dumps([(str(before), "", "")] if before > 0 else [])}


@pytest.mark.ray
def test_reading_does_not_run_far_ahead(
    folder: Folder, tmp_path: Path, ray_here: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.read_ahead.MAX_WAITING", 4)
    monkeypatch.setattr("pipeline.workers.PLAN_BLOCKS", 20)
    log = str(tmp_path / "log")
    work = replace(Count(log).work(), build=partial(Slow, log))
    manifest = count(folder, work, plan([[number] for number in range(60)]), max_bad=0.5)
    assert (manifest.rows, len(manifest.files)) == (60, 60)
    ((read,),) = ([int(item.key) for item in items] for items in read_quarantine(folder, manifest).values())
    assert read < 40


class SlowlyRead(Count):
    """Reading takes longest; what is packed says how many units had been read by then."""

    def read(self, unit: Unit) -> Row:
        time.sleep(0.2)
        return super().read(unit)

    def pack(self, row: Row) -> bytes:
        assert self.log is not None
        num_read = len(Path(self.log).read_text().split())
        with Path(f"{self.log}-packed").open("a") as file:
            file.write(f"{num_read}\n")
        return super().pack(row)


@pytest.mark.ray
def test_units_are_written_while_others_are_read_though_all_cpus_are_taken(
    folder: Folder, tmp_path: Path, ray_here: str
) -> None:
    log = tmp_path / "log"
    work = SlowlyRead(str(log)).work()
    count(folder, work, plan([[number] for number in range(30)]), workers=Workers(num=2))
    when = [int(num) for num in Path(f"{log}-packed").read_text().split()]
    assert len(when) == 30
    assert min(when) < 15


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


@pytest.mark.ray
def test_a_step_that_fails_names_its_own_error(folder: Folder, ray_here: str) -> None:
    def refuse(unit: Unit) -> Row:
        raise BadInput(f"unit {unit.index}: no such thing")

    with pytest.raises(Exception, match="no such thing") as caught:
        count(folder, replace(Count().work(), read=refuse), plan(NUMBERS))
    assert str(bad_input(caught.value)).endswith("no such thing")
    assert not folder.list("manifest-*")


@pytest.mark.ray
def test_workers_must_leave_room_for_reading(folder: Folder, ray_here: str) -> None:
    with pytest.raises(BadInput, match="ask for fewer workers"):
        count(folder, Count().work(), plan(NUMBERS), workers=Workers(num=3))


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


def test_a_damaged_file_is_named(folder: Folder) -> None:
    by_hand(folder, Count().work(), plan(NUMBERS))
    name = folder.list("count-*")[1].name
    folder.write(name, b"{")
    with pytest.raises(BadInput, match=f"{name} is damaged .it is no JSON.: remove it"):
        count(folder, Count().work(), plan(NUMBERS))


@pytest.mark.parametrize("where", ["disk", "s3"])
def test_of_two_runs_one_publishes_and_the_other_verifies(
    where: str, folder: Folder, request: pytest.FixtureRequest
) -> None:
    target = folder if where == "disk" else Folder(request.getfixturevalue("s3_folder"))
    by_hand(target, Count().work(), plan(NUMBERS))
    assert open_stage(target, "count", {"by": 2}) is None
    manifest = count(target, Count().work(), plan(NUMBERS))
    # A run that began before the first was done comes to its end now: it did as much, or less, or more.
    assert manifest.commit(target) == manifest
    assert replace(manifest, files=manifest.files[:-1], inputs=Inputs(9, "less")).commit(target) == manifest
    other = replace(manifest, inputs=Inputs(13, "0" * 16))
    with pytest.raises(BadInput, match="another run published something else"):
        other.commit(target)
    assert Manifest.read(target) == manifest
    more = replace(manifest, files=(*manifest.files, FileEntry("more", "unit", 1, 1, "")), inputs=Inputs(14, "more"))
    assert more.commit(target).generation == 2
    with pytest.raises(BadInput, match="another run published something else"):
        replace(manifest, files=(FileEntry("else", "unit", 1, 1, ""),)).commit(target)
    assert Manifest.read(target) == replace(more, generation=2)


def test_a_file_that_another_run_made_stays(folder: Folder) -> None:
    work, unit = Count().work(), plan([[1, 2]])[0]
    row = {"doubled": np.array([2, 4]), "bad": "[]"}
    first = finish_unit(folder, work, unit, row)
    again = finish_unit(folder, work, unit, {"doubled": np.array([2, 5]), "bad": "[]"})
    assert again == first
    assert json.loads(folder.read(first.file.name))["numbers"] == [2, 4]


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
    for damaged in (whole[:-100], whole.replace(b'"rows": 3', b'"rows": 4', 1), b"[]"):
        folder.write(name, damaged)
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


@pytest.mark.ray
def test_units_finished_since_they_were_planned_are_not_read_again(
    folder: Folder, tmp_path: Path, ray_here: str
) -> None:
    """By another run, or by this one, if Ray repeats what was lost with a machine."""
    log = tmp_path / "log"
    work, units = Count(str(log)).work(), plan(NUMBERS)
    by_hand(folder, work, units[:4])
    log.unlink()
    receipts = {unit.index: receipt for unit, receipt in execute(folder, work, units, Workers(num=1))}
    assert sorted(log.read_text().split()) == ["4", "5"]
    assert [receipts[unit.index].file.name for unit in units] == [work.file_name(unit) for unit in units]
    assert [receipts[unit.index].file.rows for unit in units] == [3, 1, 0, 3, 2, 3]
