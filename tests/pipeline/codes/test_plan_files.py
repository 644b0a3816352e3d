"""Plans as files: read as they were written, unit by unit, and damage is named."""

from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bar_model.errors import BadInput
from pipeline.codes import plan_files
from pipeline.codes.plan_files import Plan, PlanTable, PlanWriter, read_plans, read_unit, stream_part, write_aside
from pipeline.execution.unit import Unit
from pipeline.images.source import ListedImage
from pipeline.storage import Folder
from tests.harness.damage import SHAPES, damaged, misshapen, refusal
from tests.harness.planned import Versions
from tests.harness.planned import plan as planned

pytest_plugins = ["tests.harness.fixtures_s3"]


def images(num: int) -> list[ListedImage]:
    return [ListedImage(f"class/{number:03d}.jpg", number, 1000 + number, "v", at=number) for number in range(num)]


def written(folder: Folder, num: int) -> tuple[Plan, list[Unit]]:
    """A plan of so many images, three a unit, and its units."""
    writer = PlanWriter(folder, 3)
    for image in images(num):
        writer.add(image)
    plan = Plan(number=1, unit_size=3, first_unit=5, parts=writer.close(), left_out=None, gone=None)
    folder.create(plan.name, plan.encode())
    return plan, list(plan.units())


def test_a_plan_is_read_unit_by_unit(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_files, "UNITS_A_PART", 2)
    plan, units = written(folder, 10)
    assert read_plans(folder) == [plan]
    assert [(part.units, part.pictures) for part in plan.parts] == [(2, 6), (2, 4)]
    assert [(unit.index, unit.size) for unit in units] == [(5, 3), (6, 3), (7, 3), (8, 1)]
    assert plan.next_unit == 9
    assert [image for unit in units for image in read_unit(folder, unit)] == images(10)
    assert [image for part in plan.parts for image in stream_part(folder, part)] == images(10)


def test_images_in_no_unit_have_a_table_of_their_own(folder: Folder) -> None:
    table = write_aside(folder, images(4))
    assert table is not None
    assert list(stream_part(folder, table)) == images(4)
    assert write_aside(folder, []) is None


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.lists(st.integers(1, 5000), max_size=3))
def test_a_plan_comes_back_as_it_was(number: int, first: int, parts: list[int]) -> None:
    made = Plan(
        number=number,
        unit_size=7,
        first_unit=first,
        parts=tuple(PlanTable(f"p{size}", -(-size // 7), size) for size in parts),
        left_out=PlanTable("left", 1, 2) if first % 2 else None,
        gone=PlanTable("gone", 1, 2) if number % 2 else None,
    )
    assert Plan.decode(made.encode(), "here") == made


def test_a_plan_that_is_damaged_is_named(folder: Folder) -> None:
    plan, units = written(folder, 2)
    name, part = plan.name, units[0].payload[0]
    whole = folder.read(part)
    folder.write(part, whole[:-9])
    with pytest.raises(BadInput, match=f"{part} is no part of a plan, or damaged"):
        read_unit(folder, units[0])
    folder.remove(part)
    with pytest.raises(BadInput, match=f"{part} is missing"):
        read_unit(folder, units[0])
    for content in (b"{", b"[]", b'{"format": 1}'):
        folder.write(name, content)
        with pytest.raises(BadInput, match=f"{name} is damaged"):
            read_plans(folder)
    folder.write(name, b'{"format": 3}')
    with pytest.raises(BadInput, match=f"{name} is of a newer format"):
        read_plans(folder)


@pytest.mark.parametrize("content", SHAPES)
def test_what_is_no_plan_is_named(folder: Folder, content: bytes) -> None:
    folder.write("plan-000001.json", content)
    with pytest.raises(BadInput, match=r"^\S+/plan-000001.json is damaged [^\n]*: restore it, or make"):
        read_plans(folder)


def test_a_folder_in_the_place_of_a_plan_is_named(folder: Folder) -> None:
    """And does not keep a run waiting for the run that made it."""
    Path(folder.path("plan-000001.json")).mkdir(parents=True)
    with pytest.raises(BadInput, match=r"plan-000001\.json is a folder"):
        planned(folder, source=Versions({"a": 1}))


WHOLE = Plan(
    number=2,
    unit_size=3,
    first_unit=1,
    parts=(PlanTable("a", 2, 6), PlanTable("b", 1, 1)),
    left_out=PlanTable("c", 1, 1),
    gone=None,
    same=(PlanTable("d", 1, 2),),
    classes={"cat": 3},
    source="there",
)


@settings(deadline=None, max_examples=300)
@given(damaged(WHOLE.encode()) | misshapen(WHOLE.encode()))
def test_a_damaged_plan_is_a_plan_or_named(data: bytes) -> None:
    """A plan has no checksum; its numbers and names are at least such that it can be worked with."""
    refused = refusal(lambda: Plan.decode(data, "here"))
    if refused is None:
        plan = Plan.decode(data, "here")
        assert Plan.decode(plan.encode(), "here") == plan
        assert all(unit.size >= 0 for unit in islice(plan.units(), 9))
    else:
        assert refused.startswith("here ")


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder(str(tmp_path_factory.mktemp("part")))


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_a_damaged_part_is_named(part: Folder, data: st.DataObject) -> None:
    (table,) = written(part, 4)[0].parts
    whole = part.read(table.name)
    content = data.draw(damaged(whole))
    part.write(table.name, content)
    try:
        for read in (
            lambda: list(stream_part(part, table)),
            lambda: read_unit(part, Unit(index=1, size=1, payload=[table.name, 1])),
        ):
            refused = refusal(read)
            assert content == whole if refused is None else f"{table.name} is no part of a plan" in refused
    finally:
        part.write(table.name, whole)
