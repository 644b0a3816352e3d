"""All doors by their names, and how many files go through each."""

from collections.abc import Sequence

from tests.system.fuzz.documents import DOCUMENTS
from tests.system.fuzz.door import MakeDoor
from tests.system.fuzz.models import MODELS
from tests.system.fuzz.pictures import PICTURES
from tests.system.fuzz.shards import SHARDS
from tests.system.fuzz.sources import SOURCES

DOORS: dict[str, MakeDoor] = {**PICTURES, **SOURCES, **SHARDS, **DOCUMENTS, **MODELS}
_OFTEN = {**dict.fromkeys(PICTURES, 2.0), "tar": 2.0, "parquet": 2.0}
"""How often a door is tried beside the others: what people send most, and what is read quickly."""


def shares(chosen: Sequence[str], inputs: int) -> dict[str, int]:
    """The number of files for each of the chosen doors: at least so many together."""
    weights = {name: _OFTEN.get(name, 1.0) for name in chosen}
    whole = sum(weights.values())
    return {name: -int(-inputs * weight // whole) for name, weight in weights.items()}
