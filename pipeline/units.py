"""A stage's work, unit by unit, on Ray: each unit becomes one whole file, and the manifest is written last.

The same machinery tokenizes, samples and extracts features. One row of the Ray Data set is one unit all the way, so
that no block can split or mix units, and a unit's file depends on the unit and the configuration alone: not on the
number of workers, not on what else is done, not on what failed. Units whose file is there are done.
"""

import functools
import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from bar_model.errors import BadInput
from pipeline.manifest import FileEntry, Inputs, Manifest, Quarantined, open_stage
from pipeline.progress import Progress, Run
from pipeline.quarantine import read_quarantine, write_quarantine
from pipeline.storage import Folder

Row = dict[str, Any]
"""What a step hands to the next: numpy arrays, strings and numbers by name, as Ray Data can hold them."""

Device = Literal["auto", "cpu", "cuda"]
"""Where a stage's models run; auto: on the cluster's GPUs, where it has any."""

INSPECTIONS_AT_ONCE = WRITES_AT_ONCE = 16
INSPECTION_BYTES = 2**28
"""Of files in the driver's memory at once, but one of any size."""
PLAN_BLOCKS = 1000
"""Objects that hold the plan, whatever its length: the driver keeps track of each from beginning to end."""
READ_MEMORY_BYTES = 2**30
"""What a task that reads a unit reserves: the pictures as stored and as decoded, and the libraries.

Since workers reserve otherwise, it also keeps the two apart: Ray Data would fuse them, to decode and encode by turns.
"""


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A piece of work that becomes one file. `payload` (JSON values) says all that the work needs to know.

    `dropped` names by key the items that no longer count, whatever the file holds of them.
    """

    index: int
    size: int
    payload: Any
    dropped: tuple[str, ...] = ()

    @property
    def num_wanted(self) -> int:
        return self.size - len(self.dropped)

    @functools.cached_property
    def digest(self) -> str:
        """12 hexadecimal digits of SHA-256 over the payload: work that changed has another name."""
        return hashlib.sha256(json.dumps(self.payload).encode()).hexdigest()[:12]

    def to_json(self) -> str:
        return json.dumps([self.index, self.size, self.payload, self.dropped])

    @classmethod
    def from_json(cls, document: str) -> "Unit":
        index, size, payload, dropped = json.loads(document)
        return cls(index=index, size=size, payload=payload, dropped=tuple(dropped))


class Contents(NamedTuple):
    """What a unit's file says of itself."""

    rows: int
    quarantined: tuple[Quarantined, ...]


@dataclass(frozen=True, kw_only=True)
class Format:
    """How a unit's last row becomes a file, and what a file says of itself (BadInput where it is damaged)."""

    name: str
    """Of the files: "codes-{}.parquet"."""
    pack: Callable[[Row], bytes]
    inspect: Callable[[bytes], Contents]
    beside: Callable[[Row], Iterable[tuple[str, bytes]]] = lambda _: ()
    """Names and contents of further files, of which the unit's own tells: they are in place before it."""

    def file_name(self, unit: Unit) -> str:
        return self.name.format(f"{unit.index:06d}-{unit.digest}")


@dataclass(frozen=True, kw_only=True)
class Work(Format):
    """The steps of a unit, from its plan to its file; each runs without Ray, too, and may be run again at any time.

    `read` runs in tasks beside the workers; `build` runs once in each worker, and gives what turns the row that was
    read into the one that becomes a file.
    """

    stage: str
    item: str
    """What a unit's size counts, in the plural: "images"."""
    read: Callable[[Unit], Row]
    build: Callable[[], Callable[[Row], Row]]


@dataclass(frozen=True, kw_only=True)
class Workers:
    """How many workers build and hold what the work needs, and what each of them reserves."""

    num: int
    cpus: float = 1
    gpus: float = 0

    def __post_init__(self) -> None:
        if self.num < 1:
            raise BadInput(f"workers: {self.num}; at least 1 is needed")


def place(device: Device, num: int | None) -> tuple[str, Workers]:
    """The device that a stage's models run on, and its workers: by default one for every GPU, or for every CPU.

    On CPUs a worker reserves half of one, so that as many tasks can read: whichever of the two has more to do gets the
    processor's time, and none stands idle.
    """
    import ray

    resources: dict[str, Any] = ray.cluster_resources()
    cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    if device == "cuda" or (device == "auto" and gpus):
        return "cuda", Workers(num=num or max(gpus, 1), gpus=1)
    return "cpu", Workers(num=num or max(cpus, 1), cpus=0.5)


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
    """Does the units that are not done, then publishes the manifest; with nothing to do, gives the one that is there.

    A plan may only grow: units that were published must be among `units`, and new ones make a new generation.
    `configuration` is all that determines the content of the files (JSON values). BadInput where the folder was made
    with another one, where published units have changed, or where more than the share `max_bad` of the items had to be
    quarantined; what is done is kept in each case.
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
        print(f"{folder.url}: nothing to do, all {inputs.num:,} {work.item} are done", flush=True)
        return published

    bad: list[Quarantined] = []
    with Progress(work.stage, work.item, total=inputs.num, run=run) as progress:

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
        for unit, receipt in _executed(folder, work, pending, workers):
            keep(unit, receipt, progress.advance)

    in_order = [receipts[unit.index] for unit in planned]
    return publish(folder, work.stage, planned, in_order, configuration=configuration)


def publish(
    folder: Folder,
    stage: str,
    units: Sequence[Unit],
    receipts: Sequence["Receipt"],
    *,
    configuration: Mapping[str, Any],
) -> Manifest:
    """The manifest of units that are done, put in place."""
    manifest = Manifest(
        stage=stage,
        generation=1,
        configuration=json.loads(json.dumps(configuration)),  # As it will be read.
        inputs=_inputs(units),
        files=tuple(receipt.file for receipt in receipts),
        quarantine=write_quarantine(folder, {receipt.file.name: receipt.quarantined for receipt in receipts}),
    )
    return manifest.commit(folder)


class Receipt(NamedTuple):
    """What is known of a unit that is done."""

    file: FileEntry
    quarantined: tuple[Quarantined, ...]

    def to_json(self) -> str:
        return json.dumps([self.file._asdict(), self.quarantined])

    @classmethod
    def from_json(cls, document: str) -> "Receipt":
        file, quarantined = json.loads(document)
        return cls(FileEntry.of(file), tuple(Quarantined(*item) for item in quarantined))


def finish_unit(folder: Folder, form: Format, unit: Unit, row: Row) -> Receipt:
    """Puts a unit's file in place. Where another run was faster, its file stays: a manifest may name it already."""
    with ThreadPoolExecutor(WRITES_AT_ONCE) as pool:
        list(pool.map(lambda file: folder.write(*file), form.beside(row)))
    data = form.pack(row)
    name = form.file_name(unit)
    return _receipt(folder, form, unit, data if folder.create(name, data) else folder.read(name))


def _receipt(folder: Folder, form: Format, unit: Unit, data: bytes) -> Receipt:
    name = form.file_name(unit)
    try:
        contents = form.inspect(data)
    except BadInput as error:
        raise BadInput(f"{folder.path(name)} is damaged ({error}): remove it and run again") from error
    sha256 = hashlib.sha256(data).hexdigest()
    dropped = set(unit.dropped)
    wanted = tuple(item for item in contents.quarantined if item.key not in dropped)
    rows = contents.rows + len(contents.quarantined) - len(wanted) - len(dropped)
    return Receipt(FileEntry(name, unit.digest, rows, len(data), sha256, unit.dropped), wanted)


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
    """Receipts of the units that the manifest tells of and that are still as it says, by index; no file is read."""
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
    if len(bad) > max_bad * inputs.num:
        raise BadInput(
            f"{len(bad):,} of {inputs.num:,} {work.item} can't be used, more than the share of {max_bad:g} allowed "
            f"(first: {bad[0].where} {bad[0].why}): mend them or raise max_bad; what is done is kept"
        )


def _inspected(
    folder: Folder, work: Work, units: Sequence[Unit], sizes: Mapping[str, int]
) -> Iterator[tuple[Unit, Receipt]]:
    def receipt(unit: Unit) -> Receipt:
        return _receipt(folder, work, unit, folder.read(work.file_name(unit)))

    at_once = INSPECTION_BYTES // max([1, *sizes.values()])
    with ThreadPoolExecutor(min(max(at_once, 1), INSPECTIONS_AT_ONCE)) as pool:
        yield from zip(units, pool.map(receipt, units), strict=True)


def _executed(folder: Folder, work: Work, units: Sequence[Unit], workers: Workers) -> Iterator[tuple[Unit, Receipt]]:
    """Places the steps on the cluster, which runs them as its resources allow; receipts come as units are done."""
    if not units:
        return
    import ray
    from ray.data import ActorPoolStrategy

    from pipeline.read_ahead import limit_read_ahead

    _check_room(workers, ray.cluster_resources())
    dataset = (
        ray.data.from_items(
            [{"unit": unit.to_json()} for unit in units], override_num_blocks=min(len(units), PLAN_BLOCKS)
        )
        .map(functools.partial(_read, work), num_cpus=1, memory=READ_MEMORY_BYTES)
        .map(
            _Worker,  # pyright: ignore[reportArgumentType]  (Ray's signature knows functions alone)
            fn_constructor_args=(work,),
            compute=ActorPoolStrategy(size=min(workers.num, len(units))),
            num_cpus=workers.cpus,
            num_gpus=workers.gpus,
        )
        .map(functools.partial(_write, folder, work), num_cpus=1)
    )
    limit_read_ahead(dataset)
    dataset.context.target_max_block_size = 1  # Whoever reads several units hands on each by itself, at once.
    dataset.context.enable_progress_bars = False
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)  # It would warn that there are none.
    dataset.context.print_on_execution_start = False
    by_index = {unit.index: unit for unit in units}
    for row in dataset.iter_rows():
        yield by_index[row["index"]], Receipt.from_json(row["receipt"])


def _read(work: Work, row: Row) -> Row:
    return {**row, **work.read(Unit.from_json(row["unit"]))}


class _Worker:
    def __init__(self, work: Work) -> None:
        self._step = work.build()

    def __call__(self, row: Row) -> Row:
        return {"unit": row["unit"], **self._step(row)}


def _write(folder: Folder, work: Work, row: Row) -> Row:
    unit = Unit.from_json(row["unit"])
    return {"index": unit.index, "receipt": finish_unit(folder, work, unit, row).to_json()}


def _check_room(workers: Workers, resources: Mapping[str, float]) -> None:
    """Workers hold what they reserve to the end: units could never be read if they took every CPU."""
    cpus, gpus, memory = (resources.get(kind, 0) for kind in ("CPU", "GPU", "memory"))
    if workers.num * workers.cpus + 1 > cpus or workers.num * workers.gpus > gpus:
        raise BadInput(
            f"workers: {workers.num} with {workers.cpus:g} CPUs and {workers.gpus:g} GPUs each do not fit into the "
            f"cluster's {cpus:g} CPUs (of which 1 must remain for reading) and {gpus:g} GPUs: ask for fewer workers, "
            "or a greater cluster"
        )
    if memory < READ_MEMORY_BYTES:
        raise BadInput(f"the cluster's {memory:,.0f} bytes of memory do not suffice: {READ_MEMORY_BYTES:,} are needed")
