"""Plans of sources that are nothing but keys and versions, and what has been planned."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pipeline.codes.folder import SHARD_NAME
from pipeline.codes.plan import plan_units
from pipeline.codes.plan_files import read_unit
from pipeline.execution.manifest import FileEntry, Inputs, Manifest
from pipeline.execution.unit import Unit, unit_name
from pipeline.images.left_out import LeftOut
from pipeline.images.source import ListedImage, StoredImage, count_doubled, listing_order
from pipeline.storage import Folder

CONFIGURATION = {"of": "a test"}


@dataclass(frozen=True)
class Versions:
    """A source that is nothing but the versions of its pictures by key."""

    versions: Mapping[str, int]

    @property
    def identity(self) -> dict[str, Any]:
        return {"kind": "versions"}

    def listing(self, left_out: LeftOut | None = None) -> Iterator[ListedImage]:
        listed = [ListedImage(key, 0, 1, str(version)) for key, version in self.versions.items()]
        yield from count_doubled(sorted(listed, key=listing_order))

    def read(self, listed: Sequence[ListedImage]) -> Iterator[StoredImage]:
        raise AssertionError("planning reads no picture")


plan = partial(plan_units, stage="test", configuration=CONFIGURATION, unit_size=3, on_change="stop")


def publish(folder: Folder, units: list[Unit]) -> Manifest:
    """As a stage does once all units have their files."""
    files = tuple(
        FileEntry(unit_name(SHARD_NAME, unit), unit.digest, unit.num_wanted, 1, "", unit.dropped) for unit in units
    )
    manifest = Manifest(stage="test", generation=1, configuration=CONFIGURATION, inputs=Inputs(0, ""), files=files)
    return manifest.commit(folder)


def wanted(folder: Folder, units: list[Unit]) -> dict[str, int]:
    """What the units hold that was not dropped since, each key once."""
    found: dict[str, int] = {}
    for unit in units:
        pictures = read_unit(folder, unit)
        assert len(pictures) == unit.size
        assert {picture.name for picture in pictures} >= set(unit.dropped)
        for picture in pictures:
            if picture.name not in unit.dropped:
                assert picture.name not in found
                found[picture.name] = int(picture.version)
    return found


def numbered(*keys: str, version: int = 1) -> dict[str, int]:
    return dict.fromkeys(keys, version)
