"""A folder goes on with a source that has got more classes, or lies elsewhere now; its class numbers stay."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from bar_model.errors import BadInput
from pipeline.codes.folder import read_codes
from pipeline.codes.plan_files import read_plans
from pipeline.images.class_folders import ImageFolder
from pipeline.images.open_source import open_source
from pipeline.images.source import Source
from pipeline.storage import Folder
from tests.harness.encoding import encode, plan, publish, run
from tests.harness.stored import as_structs, parquet, picture

pytest_plugins = ["tests.harness.fixtures_s3"]


def write(folder: Folder, *names: str) -> Folder:
    """A picture in each of these class folders."""
    for name in names:
        folder.write(f"{name}/0.png", picture(len(name)))
    return folder


def labels(codes: Folder) -> dict[str, int]:
    table = read_codes(codes.url)
    return {key.partition("/")[0]: int(label) for key, label in zip(table.keys, table.labels, strict=True)}


@pytest.mark.parametrize("where", ["disk", "s3"])
def test_new_class_folders_come_after_the_published_ones(
    where: str, folder: Folder, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    root = folder if where == "disk" else Folder(request.getfixturevalue("s3_folder"))
    images, codes = write(root / "images", "cat", "dog"), root / "codes"
    first = run(codes, open_source(images.url))
    write(images, "ant", "yak")
    second = run(codes, open_source(images.url))
    assert labels(codes) == {"cat": 0, "dog": 1, "ant": 2, "yak": 3}
    assert second.files[: len(first.files)] == first.files
    assert second.configuration == first.configuration
    printed = capsys.readouterr().out
    assert "4 classes: ant → 2, cat → 0, dog → 1, yak → 3; 2 new: ant → 2, yak → 3\n" in printed
    # The same again does nothing, and the next class has the next number, though all others come after it.
    assert run(codes, open_source(images.url)) == second
    assert " new: " not in capsys.readouterr().out
    write(images, "aardvark")
    run(codes, open_source(images.url))
    assert labels(codes)["aardvark"] == 4
    assert [plan.classes for plan in read_plans(codes)] == [{}, {"ant": 2, "yak": 3}, {"aardvark": 4}]


def test_a_class_that_has_vanished_keeps_its_number(folder: Folder) -> None:
    images, codes = write(folder / "images", "ant", "cat", "dog"), folder / "codes"
    run(codes, open_source(images.url))
    shutil.rmtree(images.path("ant"))
    with pytest.raises(BadInput, match=r"1 images are not as they were encoded, ant/0.png is gone"):
        run(codes, open_source(images.url))
    run(codes, open_source(images.url), "drop")
    write(images, "bee")
    run(codes, open_source(images.url))
    assert labels(codes) == {"cat": 1, "dog": 2, "bee": 3}
    write(images, "ant")
    run(codes, open_source(images.url))
    assert labels(codes)["ant"] == 0


def sorted_numbers(source: Source) -> Source:
    """As tokenizing has it with --class-numbers sorted."""
    assert isinstance(source, ImageFolder)
    return replace(source, is_counted=False)


@pytest.mark.parametrize(
    ("first", "second", "numbers"),
    [
        (None, {"cat": 0, "dog": 1, "ant": 7}, {"cat": 0, "dog": 1, "ant": 7}),
        (None, {"cat": 1, "dog": 0, "ant": 2}, "cat: 0 there, 1 here; dog: 1 there, 0 here"),
        ({"cat": 5, "dog": 3}, None, {"cat": 5, "dog": 3, "ant": 6}),
        ({"cat": 5, "dog": 3}, {"cat": 5, "dog": 3, "ant": 0, "bat": 1}, {"cat": 5, "dog": 3, "ant": 0}),
        ({"cat": 5, "dog": 3}, {"cat": 5, "dog": 2, "ant": 0}, "dog: 3 there, 2 here"),
        (None, "sorted", "cat: 0 there, 1 here; dog: 1 there, 2 here"),
    ],
)
def test_class_maps_may_grow_but_not_renumber(
    folder: Folder, first: dict[str, int] | None, second: dict[str, int] | str | None, numbers: dict[str, int] | str
) -> None:
    images, codes = write(folder / "images", "cat", "dog"), folder / "codes"
    run(codes, open_source(images.url, classes=first))
    write(images, "ant")
    sources = [open_source(images.url, classes=second if isinstance(second, dict) else None)]
    source = sorted_numbers(sources[0]) if second == "sorted" else sources[0]
    if isinstance(numbers, dict):
        run(codes, source)
        assert labels(codes) == numbers
    else:
        with pytest.raises(BadInput, match=rf"was made with other class numbers \({numbers}\)"):
            run(codes, source)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({"cat": 0, "dog": 1}, None),
        ({"dog": 1, "cat": 0, "ant": 2}, None),
        ({"cat": 0, "dog": 2}, r"other class numbers \(dog: 1 there, 2 here\)"),
        ({"cat": 0}, "the class map has no label for 'dog'"),
    ],
)
def test_a_class_map_of_files_may_gain_names(folder: Folder, classes: Mapping[str, int], message: str | None) -> None:
    data = folder / "data"

    def source(classes: Mapping[str, int], *names: str) -> Source:
        images = as_structs(*(picture(number) for number in range(len(names))))
        data.write(f"{len(names)}.parquet", parquet({"image": images, "label": list(names)}))
        return open_source(data.path("*.parquet"), classes=classes)

    first = run(folder / "codes", source({"cat": 0, "dog": 1}, "cat", "dog"))
    if message is None:
        more = run(folder / "codes", source(classes, "cat", "dog", "dog", "ant" if "ant" in classes else "cat"))
        assert more.rows == 6
        assert more.configuration == first.configuration
        return
    with pytest.raises(BadInput, match=message):
        run(folder / "codes", source(classes, "cat", "dog", "dog"))


def test_of_two_runs_at_once_one_decides_the_numbers(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    images, codes = write(folder / "images", "cat"), folder / "codes"
    run(codes, open_source(images.url))
    write(images, "bee")
    faster = open_source(images.url)
    write(images, "ant")
    create = Folder.create

    def late(self: Folder, name: str, data: bytes) -> bool:
        if name.startswith("plan-"):
            monkeypatch.undo()
            encode(codes, plan(codes, faster), faster)
        return create(self, name, data)

    monkeypatch.setattr(Folder, "create", late)
    run(codes, open_source(images.url))
    assert labels(codes) == {"cat": 0, "bee": 1, "ant": 2}


def test_of_two_first_runs_at_once_one_decides_the_numbers(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    images, codes = write(folder / "images", "cat"), folder / "codes"
    faster = open_source(images.url)
    write(images, "ant")
    create = Folder.create

    def late(self: Folder, name: str, data: bytes) -> bool:
        if name == "stage.json":
            monkeypatch.undo()
            encode(codes, plan(codes, faster), faster)
        return create(self, name, data)

    monkeypatch.setattr(Folder, "create", late)
    run(codes, open_source(images.url))
    assert labels(codes) == {"cat": 0, "ant": 1}


def test_a_source_that_has_moved_is_taken_if_an_option_says_so(folder: Folder) -> None:
    images, codes = write(folder / "images", "cat", "dog"), folder / "codes"
    images.write("dog/broken.png", picture(1)[:50])
    first = run(codes, open_source(images.url))
    moved = Folder(shutil.copytree(images.url, folder.path("moved")))
    message = (
        r'source.url: "\S+/images" there, "\S+/moved" here\): if the same images lie there now, give --source-moved'
    )
    with pytest.raises(BadInput, match=message):
        run(codes, open_source(moved.url))
    assert run(codes, open_source(moved.url), moved=True) == first
    names = [entry.name for entry in codes.list()]
    # It is remembered: neither the option nor another look at what lies there is needed afterwards.
    for is_moved in (False, True):
        assert run(codes, open_source(moved.url), moved=is_moved) == first
    assert [entry.name for entry in codes.list()] == names
    write(moved, "emu")
    grown = run(codes, open_source(moved.url))
    assert labels(codes) == {"cat": 0, "dog": 1, "emu": 2}
    with pytest.raises(BadInput, match=r"/moved. there, .\S+/images. here"):
        run(codes, open_source(images.url))
    with pytest.raises(BadInput, match=r"1 do not agree: emu/0.png is gone"):
        run(codes, open_source(images.url), moved=True)
    assert run(codes, open_source(write(images, "emu").url), moved=True) == grown


@pytest.mark.parametrize("on_change", ["stop", "reencode", "drop"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: folder.remove("cat/0.png"), "cat/0.png is gone"),
        (lambda folder: folder.write("cat/0.png", b"another size"), "cat/0.png has changed"),
        (lambda folder: (folder.remove("dog/0.png"), folder.write("dog/1.png", b"")), "dog/0.png is gone"),
    ],
)
def test_another_source_is_not_taken_for_a_moved_one(folder: Folder, change, message: str, on_change) -> None:
    images, codes = write(folder / "images", "cat", "dog"), folder / "codes"
    run(codes, open_source(images.url))
    moved = Folder(shutil.copytree(images.url, folder.path("moved")))
    change(moved)
    with pytest.raises(BadInput, match=rf"moved does not hold the images .*\(1 do not agree: {message}\): name the"):
        run(codes, open_source(moved.url), on_change, moved=True)
    assert len(read_plans(codes)) == 1


def test_half_done_work_goes_on_where_the_source_lies_now(folder: Folder) -> None:
    images, codes = write(folder / "images", *"abcdefgh"), folder / "codes"
    encode(codes, plan(codes, open_source(images.url))[:1], open_source(images.url))
    shutil.move(images.url, folder.path("moved"))
    source = open_source(folder.path("moved"))
    units = plan(codes, source, moved=True)
    encode(codes, units, source)
    assert publish(codes, units).rows == 8
    assert len(codes.list("codes-*")) == 3
    assert labels(codes) == {name: label for label, name in enumerate("abcdefgh")}


def test_other_differences_are_named_still(folder: Folder) -> None:
    images, codes = write(folder / "images", "cat"), folder / "codes"
    run(codes, open_source(images.url))
    claim = json.loads(codes.read("stage.json"))
    claim["configuration"]["codes"]["bits"] = 9
    codes.write("stage.json", json.dumps(claim).encode())
    (Path(folder.url) / "images").rename(Path(folder.url) / "moved")
    with pytest.raises(
        BadInput, match=r"codes.bits: 9 there, 3 here; source.url: .*choose another output folder, or the"
    ):
        run(codes, open_source(folder.path("moved")))


@pytest.mark.parametrize("classes", [["cat"], "cat", 3, {"cat": "0"}, {"cat": None}])
def test_classes_of_a_claim_that_are_none_are_named(folder: Folder, classes: object) -> None:
    images, codes = write(folder / "images", "cat"), folder / "codes"
    run(codes, open_source(images.url))
    claim = json.loads(codes.read("stage.json"))
    claim["configuration"]["source"]["classes"] = classes
    codes.write("stage.json", json.dumps(claim).encode())
    with pytest.raises(BadInput, match=r"was made with another configuration \(source\.classes"):
        run(codes, open_source(images.url))
