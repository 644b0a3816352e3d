"""A listing beside the plans: whatever was added, changed or removed, each image is in one unit."""

import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bar_model.errors import BadInput
from pipeline.codes.plan import plan_units
from pipeline.codes.plan_files import read_plans
from pipeline.execution.manifest import Manifest
from pipeline.images.left_out import LeftOut
from pipeline.images.source import ListedImage, StoredImage
from pipeline.storage import Folder
from tests.harness.planned import CONFIGURATION, Versions, numbered, plan, publish, wanted

pytestmark = pytest.mark.long


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
    units = plan(folder, source=changed, on_change="drop", left_out=(left_out := LeftOut()))
    assert str(left_out) == "1 changed since they were encoded (b)"
    assert wanted(folder, units) == numbered("a", "c")
    publish(folder, units)
    for again in ("stop", "drop"):
        assert plan(folder, source=changed, on_change=again, left_out=(left_out := LeftOut())) == units
        assert str(left_out) == "1 changed since they were encoded (b)"
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
