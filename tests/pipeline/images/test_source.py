"""What holds for sources of every kind: doubled keys, labels, and images that the listing knows to be bad."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from bar_model.errors import BadInput
from pipeline.images.codec import BadImage
from pipeline.images.source import LabelMap, ListedImage, StoredImage, count_doubled, in_portions, read_all


def test_doubled_keys_are_marked_wherever_they_come_from() -> None:
    keys = ["a", "b", "b", "b", "c"]
    marked = list(count_doubled(ListedImage(key, 0, 0, "") for key in keys))
    assert [each.name for each in marked] == ["a", "b", "b (again: 1)", "b (again: 2)", "c"]
    assert [bool(each.problem) for each in marked] == [False, False, True, True, False]


def test_labels_are_numbers_or_names_of_the_class_map() -> None:
    labels = LabelMap(classes={"cat": 3, "7": 1}, num_classes=5)
    assert [labels.of(given, "here") for given in (4, "2", "cat", "7")] == [4, 2, 3, 1]
    for given, why in [
        ("dog", "the class map has no label for 'dog': add it with --classes"),
        (5, "label 5 is out of range: labels are 0 to 4"),
        (-1, "label -1 is out of range"),
        (True, "True is no label"),
        (1.0, "1.0 is no label"),
        (None, "None is no label"),
    ]:
        with pytest.raises(BadInput, match=f"here: {why}"):
            labels.of(given, "here")
    assert LabelMap().of(2**31 - 1, "here") == 2**31 - 1
    with pytest.raises(BadInput, match="labels are 0 or more"):
        LabelMap().of(2**31, "here")


class Memory:
    """A source whose images are their keys."""

    @property
    def identity(self) -> dict[str, Any]:
        return {}

    def listing(self) -> Iterator[ListedImage]:
        yield from ()

    def read(self, listed: Sequence[ListedImage]) -> Iterator[StoredImage]:
        for image in listed:
            assert not image.problem
            yield StoredImage(image.key, image.label, f"memory/{image.key}", image.key.encode())


def test_a_problem_of_the_listing_takes_the_place_of_the_image() -> None:
    listed = [ListedImage(key, 0, 1, "", problem="is bad" if key in "bd" else "") for key in "abcd"]
    read = list(read_all(Memory(), listed))
    assert [image.key for image in read] == list("abcd")
    assert [image.data for image in (read[0], read[2])] == [b"a", b"c"]
    assert all(isinstance(image.data, BadImage) and str(image.data) == "is bad" for image in (read[1], read[3]))
    assert [len(portion) for portion in in_portions(listed, 3)] == [3, 1]
