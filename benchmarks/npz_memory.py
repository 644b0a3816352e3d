"""How much memory it takes to write samples as npz: of all processes, at its peak.

    python benchmarks/npz_memory.py --images 50000 --size 256

Shards of pictures are written as a worker does, into a temporary folder that is removed in the end (raw: twice the
pixels, 20 GB for 50,000 × 256 px). Then `python jobs/write_npz.py` reads them, and its memory is watched: the sum
of the proportional set sizes of it and its children.
"""

import argparse
import contextlib
import hashlib
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import psutil

from bar_model.bits import CodeShape
from bar_model.configuration import plain
from bar_model.generator.sampling import Sampling
from pipeline.execution.stage import publish
from pipeline.execution.unit import Row, finish_unit
from pipeline.samples.encoding import Encoding, Keeping
from pipeline.samples.folder import STAGE, SampleFolder
from pipeline.samples.labels import make_schedule
from pipeline.samples.npz import NPZ
from pipeline.samples.sample import drawing_work, plan
from pipeline.samples.shard import Drawing
from pipeline.storage import Folder

LOOK_EVERY_S = 0.05
WRITE_NPZ = Path(__file__).parents[1] / "jobs" / "write_npz.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--unit-size", type=int, default=500)
    parser.add_argument("--images-as", choices=get_args(Encoding)[:-1], default="raw")
    parser.add_argument("--files", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Folder(temporary)
        keeping = Keeping(encoding=arguments.images_as, files=arguments.files)
        began = time.monotonic()
        write_shards(folder, keeping, arguments.images, arguments.size, arguments.unit_size)
        print(f"{arguments.images:,} pictures as {keeping}: {time.monotonic() - began:,.0f} s", flush=True)
        began = time.monotonic()
        peak = peak_bytes([sys.executable, str(WRITE_NPZ), temporary])
        num_bytes = Path(temporary, NPZ).stat().st_size
        print(
            f"{num_bytes / 1e9:.2f} GB of npz in {time.monotonic() - began:,.0f} s; peak of memory {peak / 1e6:,.0f} MB"
        )
        same = digest(pixels_of_npz(folder)) == digest(shard.images for shard in SampleFolder.open(temporary).shards())
        print("npz and shards hold the same bytes" if same else "error: npz and shards differ")
    sys.exit(not same)


def write_shards(folder: Folder, keeping: Keeping, num: int, size: int, unit_size: int) -> None:
    """A folder as the stage leaves it."""
    labels = make_schedule(None, None, num_classes=1000)
    drawing = Drawing(
        generator="stub",
        tokenizer="stub",
        codes=CodeShape(grid=16, bits=16),
        image_size=size,
        seed=0,
        labels=labels.schedule,
        sampling=Sampling(guidance_scale=1.0, temperature=1.0, allocation=(16,)),
        batch_size=unit_size,
        precision="float32",
        device="cpu",
    )
    # A ramp with a little noise, another for each picture: PNG has as much to do as with photographs.
    noise = np.random.default_rng(0).integers(0, 16, (unit_size, size, size, 3), np.uint8)
    ramp = np.linspace(0, 239, size, dtype=np.uint8)[:, None, None]

    def draw(row: Row) -> Row:
        indices: np.ndarray = row["indices"]
        images = ramp + np.roll(noise[: len(indices)], int(indices[0]) // unit_size, axis=1)
        codes = np.resize(indices[:, None].view(np.uint8), (len(indices), 512))
        return {"indices": indices, "labels": labels.of(indices), "images": images, "codes": codes}

    work = drawing_work(drawing, keeping, build=lambda: draw)
    units = list(plan(0, num, unit_size))
    receipts = [finish_unit(folder, work, unit, draw(work.read(unit))) for unit in units]
    publish(folder, STAGE, units, receipts, configuration={"drawing": plain(drawing)})


def peak_bytes(command: list[str]) -> int:
    """Runs a command to its end; the most memory that it and its children had at once."""
    process = psutil.Popen(command)
    peak = 0
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):
            family = [process, *process.children(recursive=True)]
            peak = max(peak, sum(one.memory_full_info().pss for one in family))
        time.sleep(LOOK_EVERY_S)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return peak


def pixels_of_npz(folder: Folder) -> Iterator[bytes]:
    with zipfile.ZipFile(Path(folder.url, NPZ)) as archive, archive.open("arr_0.npy") as member:
        np.lib.format.read_magic(member)
        np.lib.format.read_array_header_1_0(member)
        while chunk := member.read(2**24):
            yield chunk


def digest(chunks: Iterator[bytes] | Iterator[np.ndarray]) -> str:
    sha256 = hashlib.sha256()
    for chunk in chunks:
        sha256.update(np.ascontiguousarray(chunk).data if isinstance(chunk, np.ndarray) else chunk)
    return sha256.hexdigest()


if __name__ == "__main__":
    main()
