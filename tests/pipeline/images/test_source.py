"""What holds for sources of every kind: doubled keys, labels, and images that the listing knows to be bad."""

from collections.abc import Iterator, Sequence
from threading import Lock
from typing import Any

import pytest

from pipeline.images.codec import BadImage
from pipeline.images.left_out import LeftOut
from pipeline.images.source import (
    READ_AHEAD_BYTES,
    ListedImage,
    StoredImage,
    count_doubled,
    in_portions,
    read_ahead,
    read_all,
)


def test_doubled_keys_are_marked_wherever_they_come_from() -> None:
    keys = ["a", "b", "b", "b", "c"]
    marked = list(count_doubled(ListedImage(key, 0, 0, "") for key in keys))
    assert [each.name for each in marked] == ["a", "b", "b (again: 1)", "b (again: 2)", "c"]
    assert [bool(each.problem) for each in marked] == [False, False, True, True, False]


class Memory:
    """A source whose images are their keys."""

    @property
    def identity(self) -> dict[str, Any]:
        return {}

    def listing(self, left_out: LeftOut | None = None) -> Iterator[ListedImage]:
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


def test_what_is_read_ahead_is_bounded_by_its_bytes_and_comes_in_order() -> None:
    under_way, most = 0, 0
    lock = Lock()

    def read(image: ListedImage) -> StoredImage:
        nonlocal under_way, most
        with lock:
            under_way += image.size
            most = max(most, under_way)
        return StoredImage(image.key, 0, "", b"")

    third = READ_AHEAD_BYTES // 3
    sizes = [third] * 10 + [4 * READ_AHEAD_BYTES] + [third] * 3 + [0] * 100
    listed = [ListedImage(str(number), 0, size, "") for number, size in enumerate(sizes)]
    keys = []
    for item in read_ahead(read, listed):
        keys.append(item.key)
        with lock:
            under_way -= listed[int(item.key)].size
    assert keys == [image.key for image in listed]
    assert most <= 4 * READ_AHEAD_BYTES + third

    def fail(image: ListedImage) -> StoredImage:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(read_ahead(fail, listed))
