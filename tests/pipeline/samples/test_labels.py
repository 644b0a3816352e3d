"""Labels: in turn, from any kind of file, and refused by their place."""

from pathlib import Path

import numpy as np
import pytest

from bar_model.errors import BadInput
from pipeline.samples.labels import make_schedule


def test_labels_are_taken_in_turn() -> None:
    np.testing.assert_array_equal(make_schedule(None, None, 3).of(np.arange(2, 7)), [2, 0, 1, 2, 0])
    np.testing.assert_array_equal(make_schedule((4, 2), None, 5).of(np.array([0, 10**12 + 1])), [4, 2])


def test_every_kind_of_file_says_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[4, 0, 2]")
    (tmp_path / "a.txt").write_text("4\n0\r\n2\n\n")
    np.save(tmp_path / "a.npy", np.array([4, 0, 2], np.uint16))
    schedule = make_schedule((4, 0, 2), None, 5).schedule
    (tmp_path / "marked.TXT").write_text("\ufeff4\n0\n2\n")
    (tmp_path / "marked.json").write_text("\ufeff[4, 0, 2]")
    for name in ("a.json", "a.txt", "a.npy", "marked.TXT", "marked.json"):
        assert make_schedule(None, str(tmp_path / name), 5).schedule == schedule
    assert schedule.startswith("a list of 3 in turn, SHA-256 ")
    assert make_schedule((4, 2, 0), None, 5).schedule != schedule
    assert make_schedule((0, 1, 2), None, 5).schedule == make_schedule(None, None, 3).schedule == "cyclic, 0 to 2"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "[4, 0, 5]", "a.json, entry 3: 5; the generator knows the classes 0 to 4"),
        ("a.txt", "1\n-1\n", "a.txt, entry 2: -1;"),
        ("a.json", "4 0", "a.json: Extra data.*; expected: classes as a JSON list"),
        ("a.json", "{}", "a.json: is no list; expected: classes as"),
        ("a.json", "[1, true]", "a.json: entry 2, True, is no integer"),
        ("a.json", "[1e3]", "a.json: entry 1, 1000.0, is no integer"),
        ("a.json", "[100000000000000000000]", "a.json: Python int"),
        ("a.json", "[]", "a.json: holds none"),
        ("a.txt", "1\n\n2\n", "a.txt: line 2, '', is no integer"),
        ("a.txt", "", "a.txt: holds none"),
        ("a.npy", "nothing", "a.npy: "),
        ("a.csv", "1", "a.csv: of no kind that is read; expected: classes as"),
    ],
)
def test_a_file_of_something_else_is_named(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(BadInput, match=message):
        make_schedule(None, str(tmp_path / name), 5)


def test_an_array_of_something_else_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.npy"
    for array in (np.array([0.5]), np.zeros((2, 2), int), np.array([{}])):
        np.save(file, array)
        with pytest.raises(BadInput, match=r"a\.npy: .*expected: classes as"):
            make_schedule(None, str(file), 5)


def test_names_are_understood_where_a_map_knows_them_and_numbers_always(tmp_path: Path) -> None:
    classes = {"cat": 2, "dog": 0, "7": 1}
    schedule = make_schedule((2, 0, 4, 1), None, 5).schedule
    (tmp_path / "a.json").write_text('["cat", "dog", 4, "7"]')
    (tmp_path / "a.txt").write_text("cat\n dog\n4\n7\n")
    assert make_schedule(("cat", "dog", "4", 7), None, 5, classes).schedule == schedule
    for name in ("a.json", "a.txt"):
        assert make_schedule(None, str(tmp_path / name), 5, classes).schedule == schedule
    assert make_schedule(("2", 0, "4", 1), None, 5).schedule == schedule
    with pytest.raises(BadInput, match=r"labels, entry 2, 'dog', is no integer .*--classes"):
        make_schedule((1, "dog"), None, 5)
    with pytest.raises(BadInput, match=r"labels, entry 1, 'cow', is no integer .none of that name"):
        make_schedule(("cow",), None, 5, classes)
    with pytest.raises(BadInput, match=r"a\.txt: line 1, 'cat', is no integer"):
        make_schedule(None, str(tmp_path / "a.txt"), 5)
