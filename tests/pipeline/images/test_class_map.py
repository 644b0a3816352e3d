"""Labels become class numbers, by number or by the names of a class map."""

import json
from pathlib import Path

import pytest

from bar_model.errors import BadInput
from pipeline.images.class_map import LabelMap, read_classes


def test_a_class_map_is_read_from_json(tmp_path: Path) -> None:
    path = tmp_path / "classes.json"
    path.write_text(json.dumps({"cat": 3}))
    assert read_classes(str(path)) == {"cat": 3}
    for wrong in ("{", "[1]", '{"cat": -1}', '{"cat": "3"}', '{"cat": true}'):
        path.write_text(wrong)
        with pytest.raises(BadInput, match="labels"):
            read_classes(str(path))
    for no_file in ("nothing.json", "folder"):
        (tmp_path / "folder").mkdir(exist_ok=True)
        with pytest.raises(BadInput, match=no_file):
            read_classes(str(tmp_path / no_file))


def test_a_class_name_is_the_same_however_its_letters_are_stored() -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    assert LabelMap(classes={composed: 2}).of(decomposed, "here") == 2
    assert LabelMap(classes={decomposed: 2}).of(composed, "here") == 2


def test_labels_are_numbers_or_names_of_the_class_map() -> None:
    labels = LabelMap(classes={"cat": 3, "7": 1}, num_classes=5)
    assert [labels.of(given, "here") for given in (4, "2", "cat", "7", 3.0, "3.0", " 4 ")] == [4, 2, 3, 1, 3, 3, 4]
    for given, why in [
        ("dog", "the class map has no label for 'dog': add it with --classes"),
        (5, "label 5 is out of range: labels are 0 to 4"),
        (-1, "label -1 is out of range"),
        (True, "True is no label"),
        ("-1", "label -1 is out of range"),
        (-1.0, "label -1 is out of range"),
        (1.5, "1.5 is no label"),
        ("1.5", "the class map has no label for '1.5'"),
        (float("nan"), "nan is no label"),
        (None, "None is no label"),
    ]:
        with pytest.raises(BadInput, match=f"here: {why}"):
            labels.of(given, "here")
    assert LabelMap().of(2**31 - 1, "here") == 2**31 - 1
    with pytest.raises(BadInput, match="labels are 0 or more"):
        LabelMap().of(2**31, "here")
