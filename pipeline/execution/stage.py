"""A stage, unit by unit: what is not done yet is done, and the manifest is written last.

Tokenizing, sampling and extracting features all run by it.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bar_model.errors import BadInput
from pipeline.cluster import HARDWARE_TAG, hardware
from pipeline.execution.manifest import Inputs, Manifest, Quarantined, open_stage
from pipeline.execution.progress import StageProgress
from pipeline.execution.quarantine import read_quarantine, write_quarantine
from pipeline.execution.ray_data import Workers, execute
from pipeline.execution.unit import Receipt, Unit, Work, inspect_unit
from pipeline.storage import Folder
from pipeline.tracking.run import Run

INSPECTIONS_AT_ONCE = 16
INSPECTION_BYTES = 2**28
"""How many bytes of files the driver holds in memory at once; a single file may be larger."""


def run_units(
    folder: Folder,
    work: Work,
    units: Iterable[Unit],
    *,
    configuration: Mapping[str, Any],
    workers: Workers,
    run: Run | None = None,
    max_bad: float = 0,
) -> Manifest:
    """Does the units that are not done, then publishes the manifest. If all are done, gives the manifest that is there.

    A plan may only grow: units that were published must be among `units`, and new ones make a new generation.
    `configuration` (JSON values) is all that determines the content of the files.

    Raises:
        BadInput: the folder was made with another configuration, published units have changed, or more than the share
            `max_bad` of the items had to be quarantined. What is done is kept in each case.
    """
    planned = list(units)
    if not planned:
        raise BadInput(f"{work.stage}: there are no {work.item} to work on; check where they come from")
    published = open_stage(folder, work.stage, configuration)
    inputs = _inputs(planned)
    _check_grown(folder, work, planned, published)
    sizes = {entry.name: entry.size for entry in folder.list(work.name.format("*"))}
    receipts = _published(folder, work, planned, published, sizes)
    if published is not None and len(receipts) == len(planned):
        _check_bad([item for receipt in receipts.values() for item in receipt.quarantined], inputs, work, max_bad)
        print(f"{folder.url}: nothing to do, all {inputs.num:,} {work.item} are done", flush=True)
        return published

    bad: list[Quarantined] = []
    with StageProgress(work.stage, work.item, total=inputs.num, run=run) as progress:

        def keep(unit: Unit, receipt: Receipt, count: Callable[[int, int], None]) -> None:
            receipts[unit.index] = receipt
            bad.extend(receipt.quarantined)
            count(unit.num_wanted, len(receipt.quarantined))
            _check_bad(bad, inputs, work, max_bad)

        for unit in planned:
            if unit.index in receipts:
                keep(unit, receipts[unit.index], progress.found)
        there = [unit for unit in planned if unit.index not in receipts and work.file_name(unit) in sizes]
        for unit, receipt in _inspected(folder, work, there, sizes):
            keep(unit, receipt, progress.found)
        pending = [unit for unit in planned if unit.index not in receipts]
        if pending and run is not None:
            run.tag(HARDWARE_TAG, hardware(workers.num * workers.gpus))
        for unit, receipt in execute(folder, work, pending, workers):
            keep(unit, receipt, progress.advance)

    in_order = [receipts[unit.index] for unit in planned]
    return publish(folder, work.stage, planned, in_order, configuration=configuration)


def publish(
    folder: Folder,
    stage: str,
    units: Sequence[Unit],
    receipts: Sequence[Receipt],
    *,
    configuration: Mapping[str, Any],
) -> Manifest:
    """Publishes the manifest of units that are done, and gives it."""
    manifest = Manifest(
        stage=stage,
        generation=1,
        configuration=json.loads(json.dumps(configuration)),  # As it will be read: tuples become lists.
        inputs=_inputs(units),
        files=tuple(receipt.file for receipt in receipts),
        quarantine=write_quarantine(folder, {receipt.file.name: receipt.quarantined for receipt in receipts}),
    )
    return manifest.commit(folder)


def _inputs(units: Sequence[Unit]) -> Inputs:
    digests = "".join(unit.digest + "".join(f"-{key}" for key in unit.dropped) for unit in units)
    return Inputs(sum(unit.num_wanted for unit in units), hashlib.sha256(digests.encode()).hexdigest()[:16])


def _check_grown(folder: Folder, work: Work, planned: Sequence[Unit], published: Manifest | None) -> None:
    names = {work.file_name(unit) for unit in planned}
    if published is not None and not all(file.name in names for file in published.files):
        raise BadInput(
            f"{folder.url} was made from {published.inputs.num:,} {work.item} that have changed since (now "
            f"{_inputs(planned).num:,}): choose another output folder, or restore them"
        )


def _published(
    folder: Folder, work: Work, planned: Sequence[Unit], published: Manifest | None, sizes: Mapping[str, int]
) -> dict[int, Receipt]:
    """Receipts, by index, of the units whose files are as the manifest says, by name and size; no file is read."""
    if published is None:
        return {}
    files = {file.name: file for file in published.files}
    quarantined = read_quarantine(folder, published)
    receipts = {}
    for unit in planned:
        name = work.file_name(unit)
        file = files.get(name)
        if file is not None and sizes.get(name) == file.bytes and file.dropped == unit.dropped:
            receipts[unit.index] = Receipt(file, quarantined.get(name, ()))
    return receipts


def _check_bad(bad: Sequence[Quarantined], inputs: Inputs, work: Work, max_bad: float) -> None:
    if len(bad) <= max_bad * inputs.num:
        return
    num_passing = sum(item.passing for item in bad)
    later = f"run again later, which tries {num_passing:,} of them again"
    ways = [way for way, is_one in ((later, num_passing), ("mend them", num_passing < len(bad))) if is_one]
    raise BadInput(
        f"{len(bad):,} of {inputs.num:,} {work.item} can't be used, more than the share of {max_bad:g} allowed "
        f"(first: {bad[0].where} {bad[0].why}): {', '.join(ways)} or raise max_bad; what is done is kept"
    )


def _inspected(
    folder: Folder, work: Work, units: Sequence[Unit], sizes: Mapping[str, int]
) -> Iterator[tuple[Unit, Receipt]]:
    def receipt(unit: Unit) -> Receipt:
        return inspect_unit(folder, work, unit, folder.read(work.file_name(unit)))

    at_once = INSPECTION_BYTES // max([1, *sizes.values()])
    with ThreadPoolExecutor(min(max(at_once, 1), INSPECTIONS_AT_ONCE)) as pool:
        yield from zip(units, pool.map(receipt, units), strict=True)
