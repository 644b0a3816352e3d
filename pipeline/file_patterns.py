"""Which files of a folder a pattern names: a file's own name, shell wildcards, and braces as WebDataset has them."""

import fnmatch
import re
from collections.abc import Iterable

MOST_CHOICES = 1_000_000
"""Names that a range in braces stands for; a longer range is taken for plain text."""

_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_BRACES = re.compile(r"\{([^{}]*)\}")


class FilePattern:
    """A pattern such as `train-*.parquet`, `shard-{000000..000127}.tar` or `{train,val}.tar`.

    A file whose name is the pattern to the letter is always meant, so that `data[1].tar` can be named, too.
    """

    def __init__(self, pattern: str) -> None:
        alternatives = expand_braces(pattern)
        self._pattern = pattern
        self._names = {pattern, *(each for each in alternatives if not _has_wildcard(each))}
        self._wildcards = [each for each in alternatives if _has_wildcard(each)]
        self._required = alternatives if len(alternatives) > 1 else []

    def matches(self, name: str) -> bool:
        """Whether a file of this name is meant."""
        return name in self._names or any(fnmatch.fnmatchcase(name, each) for each in self._wildcards)

    def first_missing(self, names: Iterable[str]) -> str | None:
        """The first alternative of the braces that none of these names is of; None where each has a file."""
        there = set(names)
        for each in self._required if self._pattern not in there else ():
            if each not in there and not (_has_wildcard(each) and fnmatch.filter(there, each)):
                return each
        return None


def expand_braces(pattern: str) -> list[str]:
    """The patterns that one with braces stands for, in order; a pattern without braces stands for itself.

    `{008..011}` counts with as many digits as its ends have. Braces that hold neither a range nor a list are kept.
    """
    for found in _BRACES.finditer(pattern):
        choices = _choices(found[1])
        if choices is not None:
            before, after = pattern[: found.start()], expand_braces(pattern[found.end() :])
            return [f"{before}{choice}{rest}" for choice in choices for rest in after]
    return [pattern]


def _choices(inside: str) -> list[str] | None:
    """What a pair of braces lets choose from; None where it offers no choice."""
    if (ends := _RANGE.fullmatch(inside)) is not None:
        first, last = int(ends[1]), int(ends[2])
        if abs(last - first) >= MOST_CHOICES:
            return None
        width = max(len(ends[1]), len(ends[2])) if ends[1].startswith("0") or ends[2].startswith("0") else 0
        step = 1 if last >= first else -1
        return [f"{number:0{width}d}" for number in range(first, last + step, step)]
    return inside.split(",") if "," in inside else None


def _has_wildcard(pattern: str) -> bool:
    return any(character in pattern for character in "*?[")
