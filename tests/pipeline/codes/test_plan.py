"""Plans: written before the work, taken up by the next run, and of two runs at once one makes them."""

from collections.abc import Iterator

import pytest

from bar_model.errors import BadInput
from pipeline.codes.plan_files import read_plans, read_unit
from pipeline.images.left_out import LeftOut
from pipeline.images.source import ListedImage
from pipeline.storage import Folder
from tests.harness.planned import Versions, numbered, plan, publish, wanted

pytestmark = pytest.mark.long

pytest_plugins = ["tests.harness.fixtures_s3"]


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


def test_a_plan_that_is_missing_is_named(folder: Folder) -> None:
    for keys in ("a", "ab", "abc"):
        publish(folder, plan(folder, source=Versions(numbered(*keys))))
    folder.remove("plan-000002.json")
    with pytest.raises(
        BadInput, match=r"plan-000003.json is not number 2 from unit 1 on\): restore the one that is missing"
    ):
        plan(folder, source=Versions(numbered(*"abc")))
