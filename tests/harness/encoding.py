"""Tokenizing without Ray and without a model: a source is planned, read and packed, and all codes are zeros."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from pipeline.codes.comparison import OnChange
from pipeline.codes.folder import SHARD_NAME, STAGE
from pipeline.codes.plan import plan_units
from pipeline.codes.plan_files import read_unit
from pipeline.codes.shard import inspect_shard, pack_rows
from pipeline.execution.manifest import Manifest, claimed_configuration
from pipeline.execution.ray_data import Workers
from pipeline.execution.stage import run_units
from pipeline.execution.unit import Unit, Work, finish_unit
from pipeline.images.read import read_images
from pipeline.images.source import Source
from pipeline.storage import Folder
from tests.harness.code_folders import SMALL

UNIT_SIZE = 3

tokenizing = Work(
    stage=STAGE,
    item="images",
    name=SHARD_NAME,
    pack=partial(pack_rows, SMALL),
    inspect=inspect_shard,
    read=lambda unit: {},
    build=lambda: lambda row: row,
)


def plan(folder: Folder, source: Source, on_change: OnChange = "stop", *, moved: bool = False) -> list[Unit]:
    """The units of a source, three images each."""
    configuration = {"codes": SMALL.identity, "source": source.identity}
    return plan_units(folder, STAGE, configuration, source, UNIT_SIZE, on_change=on_change, source_moved=moved)


def encode(folder: Folder, units: Sequence[Unit], source: Source, *, with_contents: bool = True) -> None:
    """Makes the shards that are missing; without contents as versions made them that kept no digests."""
    for unit in units:
        if not folder.exists(tokenizing.file_name(unit)):
            row = read_images(source, read_unit(folder, unit), 8)
            if not with_contents:
                del row["contents"]
            codes = np.zeros((len(row["images"]), SMALL.num_bytes), np.uint8)
            finish_unit(folder, tokenizing, unit, {**row, "codes": codes})


def publish(folder: Folder, units: Sequence[Unit], max_bad: float = 0.9) -> Manifest:
    """Publishes units that all have their shards."""
    configuration = claimed_configuration(folder, STAGE)
    assert configuration is not None
    workers = Workers(num=1)
    return run_units(folder, tokenizing, units, configuration=configuration, workers=workers, max_bad=max_bad)


def run(
    folder: Folder,
    source: Source,
    on_change: OnChange = "stop",
    *,
    max_bad: float = 0.9,
    moved: bool = False,
    with_contents: bool = True,
) -> Manifest:
    """One run from its plan to its manifest."""
    units = plan(folder, source, on_change, moved=moved)
    encode(folder, units, source, with_contents=with_contents)
    return publish(folder, units, max_bad)
