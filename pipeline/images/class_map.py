"""Class numbers of labels: what a label may be, and the map from class names to numbers, a JSON file."""

import functools
import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bar_model.errors import BadInput, interpreting
from pipeline.storage import read_url


def read_classes(url: str) -> dict[str, int]:
    """Labels by class name from a JSON file such as {"n01440764": 0, …}.

    Raises:
        BadInput: the file is missing, or is no such map.
    """
    with interpreting(f"{url}: is no JSON file of labels by class name", 'give one such as {"n01440764": 0, …}'):
        classes = json.loads(read_url(url), object_pairs_hook=_without_doubled)
    if not isinstance(classes, dict) or not all(
        type(label) is int and 0 <= label < 2**31 for label in classes.values()
    ):
        raise BadInput(f'{url}: labels by class name are expected, {{"n01440764": 0, …}}, each 0 or more')
    return classes


def _without_doubled(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of a JSON file, of which the last value of a name would else win without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the name {next(name for name in names if names.count(name) > 1)!r} stands there twice")
    return found


@dataclass(frozen=True, kw_only=True)
class LabelMap:
    """Turns labels as they are stored into class numbers: a number below `num_classes`, or a name in `classes`."""

    classes: Mapping[str, int] | None = None
    num_classes: int | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """The class map as JSON values: part of the identity of a source."""
        return {"classes": dict(self.classes) if self.classes is not None else None}

    @functools.cached_property
    def by_name(self) -> Mapping[str, int]:
        """The class map by normal names, empty without one; made once, because `of` is called for each row."""
        return {normal_name(name): label for name, label in (self.classes or {}).items()}

    def of(self, given: object, where: str) -> int:
        """The class number of a stored label, which lies at `where`.

        Raises:
            BadInput: it is no label, or out of range.
        """
        name = normal_name(str(given))
        if name in self.by_name:
            label = self.by_name[name]
        elif (number := _whole(given)) is not None:
            label = number
        elif isinstance(given, str):
            raise BadInput(f"{where}: the class map has no label for {given!r}: add it with --classes FILE.json")
        else:
            raise BadInput(f"{where}: {given!r} is no label: a class number or a name of the class map is expected")
        if not 0 <= label < (2**31 if self.num_classes is None else self.num_classes):
            limit = "" if self.num_classes is None else f" to {self.num_classes - 1}"
            raise BadInput(f"{where}: label {label} is out of range: labels are 0{limit or ' or more'}")
        return label


def _whole(given: object) -> int | None:
    """The whole number that a label is, also as tables have it (`3.0`, `"-1"`); None where it is none."""
    if isinstance(given, str) and re.fullmatch(r"\s*[+-]?\d{1,18}(\.0{0,18})?\s*", given):
        return int(given.partition(".")[0])
    if isinstance(given, float) and given.is_integer():
        return int(given)
    return given if isinstance(given, int) and not isinstance(given, bool) else None


def normal_name(name: str) -> str:
    """A class name in Unicode's composed form: file systems store some letters in parts, people type them in one."""
    return unicodedata.normalize("NFC", name)
