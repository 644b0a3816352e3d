"""What is encoded already: which units of a folder's plans have their shards, and what these say of single images."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from bar_model.errors import BadInput
from pipeline.codes.folder import SHARD_NAME
from pipeline.codes.shard import ShardNotes, read_notes
from pipeline.execution.manifest import Manifest
from pipeline.execution.quarantine import read_quarantine
from pipeline.execution.unit import Unit, unit_name
from pipeline.images.read import DIGEST_BYTES
from pipeline.storage import Folder

NOTES_AT_ONCE = 16
UNITS_KEPT = 64
"""Units whose digests are in memory: images of one plan are compared unit by unit, those of several plans in turn."""


class EncodedUnits:
    """The units that are encoded, published or not. Of a shard no more than its footer is read here."""

    def __init__(self, folder: Folder, published: Manifest | None, units: Sequence[Unit]) -> None:
        self._folder = folder
        self._published = {file.name for file in published.files} if published is not None else set[str]()
        self._there = {entry.name for entry in folder.list(SHARD_NAME.format("*"))}
        self._contents: dict[int, bytes] = {}
        self._passing = self._find_passing(units, published)

    def is_published(self, unit: Unit) -> bool:
        """Whether the manifest names the shard of a unit."""
        return unit_name(SHARD_NAME, unit) in self._published

    def is_passing(self, unit: Unit, name: str) -> bool:
        """Whether an image of a unit was quarantined for a reason that may pass."""
        return name in self._passing.get(unit.index, ())

    def is_there(self, unit: Unit) -> bool:
        """Whether a unit has its shard, published or not."""
        return unit_name(SHARD_NAME, unit) in self._there

    def digest(self, unit: Unit, place: int) -> bytes:
        """The digest of the bytes that the image in this place of a unit was made from, empty where none is kept.

        It is `NO_DIGEST` where the image could not be read.
        """
        if unit.index not in self._contents:
            if len(self._contents) == UNITS_KEPT:
                self._contents.pop(next(iter(self._contents)))
            self._contents[unit.index] = self._notes(unit).contents
        return self._contents[unit.index][place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES]

    def _find_passing(self, units: Sequence[Unit], published: Manifest | None) -> dict[int, frozenset[str]]:
        quarantined = read_quarantine(self._folder, published) if published is not None else {}
        found = {unit.index: quarantined.get(unit_name(SHARD_NAME, unit), ()) for unit in units}
        unpublished = [unit for unit in units if self.is_there(unit) and not self.is_published(unit)]
        with ThreadPoolExecutor(NOTES_AT_ONCE) as pool:
            for unit, notes in zip(unpublished, pool.map(self._notes, unpublished), strict=True):
                found[unit.index] = notes.quarantined
        passing = {index: frozenset(item.key for item in items if item.passing) for index, items in found.items()}
        return {index: names for index, names in passing.items() if names}

    def _notes(self, unit: Unit) -> ShardNotes:
        try:
            return read_notes(self._folder, unit_name(SHARD_NAME, unit))
        except (BadInput, FileNotFoundError):
            # What is damaged or gone meanwhile has nothing to say here; the stage, which reads it whole, names it.
            return ShardNotes()
