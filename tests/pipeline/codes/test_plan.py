"""Plans: every image in one unit, however its source grows, and whatever was changed or removed."""

import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bar_model.errors import BadInput
from pipeline.codes.folder import SHARD_NAME
from pipeline.codes.plan import plan_units
from pipeline.codes.plan_files import read_plans, read_unit
from pipeline.execution.manifest import FileEntry, Inputs, Manifest
from pipeline.execution.unit import Unit, unit_name
from pipeline.images.left_out import LeftOut
from pipeline.images.source import ListedImage, StoredImage, count_doubled, listing_order
from pipeline.storage import Folder

pytestmark = pytest.mark.long

pytest_plugins = ["tests.harness.fixtures_s3"]

CONFIGURATION = {"of": "a test"}


@dataclass(frozen=True)
class Versions:
    """A source that is nothing but the versions of its pictures by key."""

    versions: Mapping[str, int]

    @property
    def identity(self) -> dict[str, Any]:
        return {"kind": "versions"}

    def listing(self, left_out: LeftOut | None = None) -> Iterator[ListedImage]:
        listed = [ListedImage(key, 0, 1, str(version)) for key, version in self.versions.items()]
        yield from count_doubled(sorted(listed, key=listing_order))

    def read(self, listed: Sequence[ListedImage]) -> Iterator[StoredImage]:
        raise AssertionError("planning reads no picture")


plan = partial(plan_units, stage="test", configuration=CONFIGURATION, unit_size=3, on_change="stop")


def publish(folder: Folder, units: list[Unit]) -> Manifest:
    """As a stage does once all units have their files."""
    files = tuple(
        FileEntry(unit_name(SHARD_NAME, unit), unit.digest, unit.num_wanted, 1, "", unit.dropped) for unit in units
    )
    manifest = Manifest(stage="test", generation=1, configuration=CONFIGURATION, inputs=Inputs(0, ""), files=files)
    return manifest.commit(folder)


def wanted(folder: Folder, units: list[Unit]) -> dict[str, int]:
    """What the units hold that was not dropped since, each key once."""
    found: dict[str, int] = {}
    for unit in units:
        pictures = read_unit(folder, unit)
        assert len(pictures) == unit.size
        assert {picture.name for picture in pictures} >= set(unit.dropped)
        for picture in pictures:
            if picture.name not in unit.dropped:
                assert picture.name not in found
                found[picture.name] = int(picture.version)
    return found


def numbered(*keys: str, version: int = 1) -> dict[str, int]:
    return dict.fromkeys(keys, version)


@pytest.mark.parametrize("where", ["disk", "s3"])
def test_a_source_that_grows_keeps_its_units(where: str, folder: Folder, request: pytest.FixtureRequest) -> None:
    target = folder if where == "disk" else Folder(request.getfixturevalue("s3_folder"))
    first = plan(target, source=Versions(numbered("b/1", "b/2", "c/1", "c/2")))
    assert [(unit.index, unit.size) for unit in first] == [(0, 3), (1, 1)]
    # A run that was killed is taken up with the same units, and so is one that another run has begun.
    assert plan(target, source=Versions(numbered("b/1", "b/2", "c/1", "c/2"))) == first
    publish(target, first)
    more = Versions(numbered("a/1", "b/1", "b/2", "b/3", "c/1", "c/2"))
    grown = plan(target, source=more)
    assert grown[:2] == first
    assert [picture.key for picture in read_unit(target, grown[2])] == ["a/1", "b/3"]
    publish(target, grown)
    names = [entry.name for entry in target.list()]
    assert plan(target, source=more) == grown
    assert [entry.name for entry in target.list()] == names
    assert [plan.number for plan in read_plans(target)] == [1, 2]


def test_what_was_published_may_not_change_without_an_option(folder: Folder) -> None:
    publish(folder, plan(folder, source=Versions(numbered(*"abcde"))))
    changed = Versions({**numbered(*"bcde"), "b": 2})
    with pytest.raises(BadInput, match=r"2 images are not as they were encoded, a is gone; b has changed: restore"):
        plan(folder, source=changed)
    assert len(read_plans(folder)) == 1

    units = plan(folder, source=changed, on_change="reencode")
    assert [unit.dropped for unit in units] == [("a", "b"), (), ()]
    assert wanted(folder, units) == changed.versions
    publish(folder, units)
    assert plan(folder, source=changed) == units
    back = Versions({**changed.versions, "a": 1})
    assert wanted(folder, plan(folder, source=back)) == back.versions


def test_what_changed_is_left_out_until_it_is_to_be_encoded_anew(folder: Folder) -> None:
    publish(folder, plan(folder, source=Versions(numbered(*"abc"))))
    changed = Versions({"a": 1, "b": 2, "c": 1})
    units = plan(folder, source=changed, on_change="drop")
    assert wanted(folder, units) == numbered("a", "c")
    publish(folder, units)
    for again in ("stop", "drop"):
        assert plan(folder, source=changed, on_change=again) == units
    units = plan(folder, source=changed, on_change="reencode")
    assert wanted(folder, units) == changed.versions
    publish(folder, units)
    assert plan(folder, source=changed) == units


def test_what_was_never_published_may_change_freely(folder: Folder) -> None:
    """Images that are mended after a run that failed are planned anew, and only they."""
    first = plan(folder, source=Versions(numbered(*"abcdef")))
    mended = Versions({**numbered(*"abc", "e"), "b": 2})
    units = plan(folder, source=mended)
    assert wanted(folder, units) == mended.versions
    assert [unit.digest for unit in units[:2]] == [unit.digest for unit in first]
    nothing_left = plan(folder, source=Versions(numbered("a", "b", "c", version=3)))
    assert first[1].index not in [unit.index for unit in nothing_left]


def test_nothing_is_claimed_before_the_source_was_read(folder: Folder) -> None:
    class Refused(Versions):
        def listing(self, left_out: LeftOut | None = None) -> Iterator[ListedImage]:
            yield from super().listing(left_out)
            raise BadInput("label 7 is out of range")

    with pytest.raises(BadInput, match="label 7"):
        plan(folder, source=Refused(numbered(*"abcd")))
    assert plan(folder, source=Versions({})) == []
    other = plan(folder, source=Versions(numbered("a")), configuration={"of": "another"})
    with pytest.raises(BadInput, match='of: "another" there, "a test" here'):
        plan(folder, source=Versions(numbered("a")))
    assert len(other) == 1


def test_a_plan_that_another_run_made_first_is_taken(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The faster run saw less of the source: what it left is planned behind it."""
    few, all_ = Versions(numbered("a", "c")), Versions(numbered("a", "b", "c"))
    create = Folder.create

    def late(self: Folder, name: str, data: bytes) -> bool:
        if name.startswith("plan-"):
            monkeypatch.undo()
            plan(folder, source=few)
        return create(self, name, data)

    monkeypatch.setattr(Folder, "create", late)
    units = plan(folder, source=all_)
    assert [[picture.key for picture in read_unit(folder, unit)] for unit in units] == [["a", "c"], ["b"]]
    assert wanted(folder, units) == all_.versions


def test_a_source_out_of_order_is_a_defect(folder: Folder) -> None:
    class Shuffled(Versions):
        def listing(self, left_out: LeftOut | None = None) -> Iterator[ListedImage]:
            yield from reversed(list(super().listing(left_out)))

    with pytest.raises(ValueError, match="must list in order, but 'a' came after 'b'"):
        plan(folder, source=Shuffled(numbered("a", "b")))


KEYS = [f"{folder}/{name}" for folder in ("a", "a-", "b") for name in "123"]
states = st.dictionaries(st.sampled_from(KEYS), st.integers(1, 3), min_size=1)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(states, st.booleans()), min_size=1, max_size=6))
@example(
    [
        (dict.fromkeys(("a/2", "a/3", "a-/1", "a-/2"), 1), True),
        ({"a/1": 1}, True),
        ({"a/2": 1, "a/3": 1, "a-/1": 1, "a-/2": 1}, True),
    ]
)  # A unit of the same pictures as one of long ago.
def test_units_hold_the_source_as_it_is(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[dict[str, int], bool]]
) -> None:
    """After any history of the source, whichever runs have finished."""
    folder = Folder(str(tmp_path_factory.mktemp("plans")))
    published: Manifest | None = None
    for versions, finishes in history:
        units = plan(folder, source=Versions(versions), on_change="reencode")
        assert wanted(folder, units) == versions
        assert plan(folder, source=Versions(versions)) == units
        if published is not None:
            assert {file.unit for file in published.files} <= {unit.digest for unit in units}
        if finishes:
            published = publish(folder, units)


def test_planning_holds_a_few_pictures_at_a_time(folder: Folder) -> None:
    """A listing four times as long costs no more memory, first or compared with what is planned."""

    @dataclass(frozen=True)
    class Endless:
        num: int
        identity = CONFIGURATION

        def listing(self, left_out: LeftOut | None = None) -> Iterator[ListedImage]:
            return (ListedImage(f"class/{number:09d}.jpg", 0, 100_000, str(number)) for number in range(self.num))

        def read(self, listed: Sequence[ListedImage]) -> Iterator[StoredImage]:
            raise AssertionError("planning reads no picture")

    peaks = []
    for num in (2_000, 8_000):
        out = folder / str(num)
        for _ in range(2):
            tracemalloc.start()
            plan_units(out, "test", CONFIGURATION, Endless(num), 4, on_change="stop")
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert max(peaks[2:]) < 1.5 * max(peaks[:2]) + 4_000_000
