"""Patterns of files: own names, wildcards, and braces as WebDataset has them."""

import pytest

from pipeline.file_patterns import FilePattern, expand_braces

NAMES = ["a.tar", "b.tar", "data[1].tar", "data1.tar", "shard-000.tar", "shard-001.tar", "shard-002.tar", "x{1,2}.tar"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a.tar", ["a.tar"]),
        ("?.tar", ["a.tar", "b.tar"]),
        ("[ab].tar", ["a.tar", "b.tar"]),
        ("data[1].tar", ["data[1].tar", "data1.tar"]),  # The name as it is written, and the wildcard.
        ("shard-{000..001}.tar", ["shard-000.tar", "shard-001.tar"]),
        ("shard-{002..000}.tar", ["shard-000.tar", "shard-001.tar", "shard-002.tar"]),
        ("{a,shard-*}.tar", ["a.tar", "shard-000.tar", "shard-001.tar", "shard-002.tar"]),
        ("x{1,2}.tar", ["x{1,2}.tar"]),
        ("nothing.tar", []),
        ("A.TAR", []),
    ],
)
def test_a_pattern_names_these_files(pattern: str, expected: list[str]) -> None:
    assert [name for name in NAMES if FilePattern(pattern).matches(name)] == expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("plain", ["plain"]),
        ("{8..11}", ["8", "9", "10", "11"]),
        ("{08..11}", ["08", "09", "10", "11"]),
        ("{008..010}", ["008", "009", "010"]),
        ("{a,b}-{1..2}", ["a-1", "a-2", "b-1", "b-2"]),
        ("{a,}", ["a", ""]),
        ("{}", ["{}"]),
        ("{one}{1..2}", ["{one}1", "{one}2"]),
        ("{1..9999999}", ["{1..9999999}"]),
    ],
)
def test_braces_are_expanded_as_a_shell_does(pattern: str, expected: list[str]) -> None:
    assert expand_braces(pattern) == expected


def test_a_gap_in_a_range_is_found() -> None:
    assert FilePattern("shard-{000..002}.tar").first_missing(NAMES) is None
    assert FilePattern("shard-{000..003}.tar").first_missing(NAMES) == "shard-003.tar"
    assert FilePattern("{a,z*}.tar").first_missing(NAMES) == "z*.tar"
    assert FilePattern("*.tar").first_missing([]) is None
