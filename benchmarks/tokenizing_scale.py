"""How tokenizing behaves where there is much of it: memory, spilling, and what a plan and a manifest cost.

python -m benchmarks.tokenizing_scale run --num-images 100000     generated JPEGs through Ray Data, a tiny encoder
python -m benchmarks.tokenizing_scale plan --num-images 1281167   a simulated listing, planned and compared
python -m benchmarks.tokenizing_scale units --num-images 100000000   what a driver holds, and its manifest
"""

import json
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
import tyro

from bar_model import checkpoint
from bar_model.tokenizer.tokenizer import Tokenizer
from benchmarks.tokenizing import small_tokenizer, write_jpegs
from pipeline import cluster
from pipeline.cluster import ClusterConfig
from pipeline.codes.plan import plan_units
from pipeline.codes.plan_files import UNITS_A_PART, Plan, PlanTable
from pipeline.codes.tokenize import TokenizeConfig, tokenize
from pipeline.execution.manifest import FileEntry, Inputs, Manifest
from pipeline.images.left_out import LeftOut
from pipeline.images.source import ListedImage, StoredImage
from pipeline.storage import Folder

UNIT_SIZE = 512
MB = 10**6


@dataclass(frozen=True)
class Simulated:
    """ImageNet's names without the pictures."""

    num: int
    num_classes: int = 1000

    @property
    def identity(self) -> dict[str, Any]:
        return {"kind": "simulated"}

    def listing(self, left_out: LeftOut | None = None) -> Iterator[ListedImage]:
        each = -(-self.num // self.num_classes)
        for number in range(self.num):
            label, place = divmod(number, each)
            key = f"n{label:08d}/n{label:08d}_{place:08d}.JPEG"
            yield ListedImage(key, label, 110_000 + place, f"{number * 2654435761 % 2**64:032x}")

    def read(self, listed: Sequence[ListedImage]) -> Iterator[StoredImage]:
        raise AssertionError("planning reads no picture")  # And nothing else is done with this source.


def plan(num_images: int = 1_281_167) -> None:
    """Plans a listing, then compares it with its plan, as the second night does."""
    with tempfile.TemporaryDirectory() as root:
        for title in ("planned", "compared"):
            began, before = time.monotonic(), _peak_mb()
            units = plan_units(Folder(root), "tokenize", {}, Simulated(num_images), UNIT_SIZE, on_change="stop")
            print(
                f"{title}: {num_images:,} images in {len(units):,} units, {time.monotonic() - began:.1f} s, "
                f"{_peak_mb() - before:,.0f} MB more than before"
            )
        size = sum(entry.size for entry in Folder(root).list())
        print(f"plan on the disk: {size / MB:.1f} MB, {size / num_images:.1f} bytes an image")


def units(num_images: int = 100_000_000) -> None:
    """What grows with the stage in a driver: a unit, a receipt and a line of the manifest for each 512 images."""
    before = _peak_mb()
    num_units = -(-num_images // UNIT_SIZE)
    parts = tuple(
        PlanTable(f"pictures-{number:016x}.parquet", min(UNITS_A_PART, num_units - start), UNIT_SIZE * UNITS_A_PART)
        for number, start in enumerate(range(0, num_units, UNITS_A_PART))
    )
    whole = Plan(number=1, unit_size=UNIT_SIZE, first_unit=0, parts=parts, left_out=None, gone=None)
    files = tuple(
        FileEntry(
            f"codes-{unit.index:06d}-{unit.digest}.parquet", unit.digest, UNIT_SIZE, 530_000, f"{unit.index:064x}"
        )
        for unit in list(whole.units())
    )
    manifest = Manifest(stage="tokenize", generation=1, configuration={}, inputs=Inputs(num_images, ""), files=files)
    began = time.monotonic()
    encoded = manifest.encode()
    written = time.monotonic()
    assert Manifest.decode(encoded, "here") == manifest
    print(
        f"{num_images:,} images: {num_units:,} units, manifest of {len(encoded) / MB:.1f} MB, written in "
        f"{written - began:.1f} s, read in {time.monotonic() - written:.1f} s; {_peak_mb() - before:,.0f} MB in all"
    )


def run(
    num_images: int = 100_000, num_classes: int = 1000, workers: int | None = None, root: str | None = None
) -> None:
    """Real pictures of ImageNet's size, through Ray Data on this machine."""
    with tempfile.TemporaryDirectory(dir=root, prefix="scale") as aside:
        folder = Path(aside)
        began = time.monotonic()
        write_jpegs(folder / "images", num_images, num_classes)
        torch.manual_seed(0)
        checkpoint.save(Tokenizer(small_tokenizer(width=16, depth=1)), folder / "tokenizer")
        print(f"{num_images:,} pictures written in {time.monotonic() - began:.0f} s", flush=True)
        with cluster.connect(ClusterConfig(address="local", object_store_gb=1)), _watched() as peaks:
            began = time.monotonic()
            config = TokenizeConfig(
                source=str(folder / "images"),
                tokenizer=str(folder / "tokenizer"),
                out=str(folder / "codes"),
                views=("crop", "flip"),
                workers=workers,
            )
            manifest = tokenize(config)
            took = time.monotonic() - began
            print(f"{manifest.rows:,} images in {took / 60:.1f} minutes, {manifest.rows / took:.0f} images/s")
            print(f"{manifest.num_bytes / manifest.rows:,.1f} bytes an image")
            began = time.monotonic()
            tokenize(config)
            print(f"the next run: {time.monotonic() - began:.1f} s")
            print(f"spilled: {_spilled()}")
        print("most memory, MB: " + json.dumps({name: round(value / MB) for name, value in sorted(peaks.items())}))


@contextmanager
def _watched() -> Iterator[dict[str, float]]:
    """The most that each kind of process held at once, shared memory left out, looked at every second."""
    peaks: dict[str, float] = {}
    done = threading.Event()

    def watch() -> None:
        while not done.wait(1):
            for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
                try:
                    title, memory = " ".join(process.cmdline()), process.memory_info()
                except psutil.Error:
                    continue
                name = "driver" if process.pid == psutil.Process().pid else _kind(title)
                if name is not None:
                    peaks[name] = max(peaks.get(name, 0), memory.rss - memory.shared)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        done.set()
        thread.join()


def _kind(title: str) -> str | None:
    return next((kind for kind in ("MapWorker", "Map(_read)", "Map(_write)") if f"ray::{kind}" in title), None)


def _spilled() -> str:
    from ray._private.internal_api import memory_summary

    lines = [line for line in memory_summary(stats_only=True).splitlines() if "pilled" in line]
    return "; ".join(lines) or "nothing"


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict(
        {"run": run, "plan": plan, "units": units}, description=__doc__, args=sys.argv[1:]
    )
