"""The records of a unit: which items its arrays hold, and which could not be used."""

import json
from collections.abc import Sequence
from typing import NamedTuple

from pipeline.execution.manifest import Quarantined


class Records(NamedTuple):
    """The items of a unit, as the step that reads them describes them to the step that packs them.

    They travel as the column `records` of a row, as JSON: a string passes Ray Data unchanged.
    """

    keys: Sequence[str]
    """A key for each row of the unit's arrays."""
    labels: Sequence[int] = ()
    """A label for each key, or none at all where images have no labels."""
    quarantined: Sequence[Quarantined] = ()

    def to_json(self) -> str:
        """The column's value."""
        return json.dumps([self.keys, self.labels, Quarantined.to_rows(self.quarantined)])

    @classmethod
    def from_json(cls, document: str) -> "Records":
        """The records of a column's value; the inverse of `to_json`."""
        keys, labels, quarantined = json.loads(document)
        return cls(keys, labels, Quarantined.from_rows(quarantined))
