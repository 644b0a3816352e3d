"""A table between the parameter names of the published code and ours, used in both directions."""

import re
from collections.abc import Iterable, Mapping

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


class Renaming:
    """Renames parameters by a table of published names → ours.

    "*" stands for the number of a block. A name stands for itself, or for the weight and the bias below it.
    """

    def __init__(self, table: Mapping[str, str]) -> None:
        self._ours = dict(table)
        self._theirs = {ours: theirs for theirs, ours in table.items()}
        self._places = {name: place for place, name in enumerate(table)}
        self._groups = {name: min(p for n, p in self._places.items() if _group(n) == _group(name)) for name in table}

    def ours(self, key: str) -> str | None:
        """Our name of a published parameter; None if the table has none."""
        return _rename(key, self._ours)

    def theirs(self, key: str) -> str | None:
        """The published name of our parameter; None if the table has none."""
        return _rename(key, self._theirs)

    def in_their_order(self, keys: Iterable[str]) -> list[str]:
        """Published keys in the order of the table, one block after the other.

        Raises:
            KeyError: the table has no such key.
        """
        return sorted(keys, key=self._place)

    def _place(self, key: str) -> tuple[int, int, int]:
        found = _find(key, self._ours)
        if found is None:
            raise KeyError(key)
        name, numbers, _ = found
        return self._groups[name], int(numbers[0]) if numbers else 0, self._places[name]


def _group(name: str) -> str:
    """The part of a name before the block's number, which all rows of one list of blocks share."""
    return name.partition("*")[0]


def _find(key: str, table: Mapping[str, str]) -> tuple[str, list[str], str] | None:
    """The row of this key, the block number at its star, and its ending (".weight", ".bias" or nothing)."""
    stem, dot, last = key.rpartition(".")
    for name, suffix in ((key, ""), (stem, dot + last)):
        # A digit in a name may be a block's number or part of the name ("mlp.0"), so both readings are tried.
        for numbers in (_NUMBER.findall(name)[:1], []):
            pattern = _NUMBER.sub("*", name, count=len(numbers)) if numbers else name
            if pattern in table:
                return pattern, numbers, suffix
    return None


def _rename(key: str, table: Mapping[str, str]) -> str | None:
    found = _find(key, table)
    if found is None:
        return None
    name, numbers, suffix = found
    return (table[name].replace("*", numbers[0]) if numbers else table[name]) + suffix
