"""Plans as files: read as they were written, unit by unit, and damage is named."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bar_model.errors import BadInput
from pipeline.codes import plan_files
from pipeline.codes.plan_files import Plan, PlanTable, PlanWriter, read_plans, read_unit, stream_part, write_aside
from pipeline.execution.unit import Unit
from pipeline.images.source import ListedImage
from pipeline.storage import Folder

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
    for damaged in (b"{", b"[]", b'{"format": 1}'):
        folder.write(name, damaged)
        with pytest.raises(BadInput, match=f"{name} is damaged"):
            read_plans(folder)
    folder.write(name, b'{"format": 3}')
    with pytest.raises(BadInput, match=f"{name} is of a newer format"):
        read_plans(folder)
