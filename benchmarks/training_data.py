"""Rows a second that one worker of a training gathers, beside one npz file a sample, in one run on this machine.

    python -m benchmarks.training_data
    python -m benchmarks.training_data --mapped FOLDER

Codes are random and of ImageNet's size: 1,281,167 images, two views of 256 tokens of 16 bits, 1.3 GB. A row's order,
view and gathering count, and the copy into a tensor; bits are unpacked on the device, which is measured apart. With
`--mapped` they lie in a folder of shards, are copied from there into one file in FOLDER, and mapped.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import torch

from bar_model.bits import CodeShape
from pipeline.codes.folder import CodeTable
from pipeline.codes.mapped import MappedCodes
from pipeline.codes.shard import CodeMetadata
from pipeline.codes.table import Codes
from pipeline.training.step.batches import Share, Shuffle, code_batch, to_device
from tests.harness.code_folders import write_codes

SHAPE, VIEWS = CodeShape(grid=16, bits=16), 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_281_167)
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--mapped", help="folder for the codes and their copy (else: they are held in memory)")
    parser.add_argument("--files", type=int, default=5000, help="npz files of the comparison")
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    rng = np.random.default_rng(0)
    source = mapped_codes(Path(arguments.mapped), arguments.images, rng) if arguments.mapped else None
    before = own_memory()
    began = time.perf_counter()
    codes = random_codes(arguments.images, rng) if source is None else source.opened()
    if source is not None:
        print(f"made ready: {time.perf_counter() - began:.1f} s")
    share = Share(shuffle=Shuffle(num_rows=arguments.images, batch=arguments.batch, seed=0))

    began = time.perf_counter()
    share.parts(0)
    print(f"start of an epoch: {time.perf_counter() - began:.2f} s for {arguments.images:,} images")

    began = time.perf_counter()
    for step in range(arguments.steps):
        for rows in share.parts(step):
            views = rows.chance % np.uint64(VIEWS)
            to_device(codes.packed[rows.indices, views], torch.device("cpu"))
            to_device(codes.labels[rows.indices], torch.device("cpu"))
    packed_rate = arguments.steps * arguments.batch / (time.perf_counter() - began)

    began, few = time.perf_counter(), max(1, arguments.steps // 10)
    for step in range(few):
        for rows in share.parts(step):
            code_batch(codes, rows, SHAPE, torch.device("cpu"))
    unpacked_rate = few * arguments.batch / (time.perf_counter() - began)
    taken, size = own_memory() - before, codes.packed.nbytes + codes.labels.nbytes

    file_rate = npz_rate(arguments.files, rng)
    print(f"packed rows: {packed_rate:,.0f} /s; unpacked on this CPU: {unpacked_rate:,.0f} /s")
    print(f"one npz a sample: {file_rate:,.0f} /s; packed rows ÷ npz = {packed_rate / file_rate:,.0f}")
    print(f"memory of its own: {taken / 2**30:.2f} GiB, {taken / size:.2f} times the codes")


def own_memory() -> int:
    """Bytes that no other process could share: pages of a mapped file are not among them."""
    found = psutil.Process().memory_info()
    return found.rss - found.shared


def random_codes(num: int, rng: np.random.Generator) -> Codes:
    packed = rng.integers(0, 256, (num, VIEWS, SHAPE.num_bytes), dtype=np.uint8)
    return Codes(rng.integers(0, 1000, num, dtype=np.int32), packed)


def mapped_codes(folder: Path, num: int, rng: np.random.Generator) -> MappedCodes:
    """The codes as the tokenizing stage leaves them; written once."""
    url = str(folder / f"codes-{num}")
    if not Path(url).exists():
        codes = random_codes(num, rng)
        metadata = CodeMetadata(
            bits=SHAPE.bits,
            grid=SHAPE.grid,
            views=("crop", "flip"),
            image_size=256,
            crop_rule="none",
            tokenizer="0" * 16,
        )
        write_codes(url, CodeTable([str(row) for row in range(num)], codes.labels, codes.packed, metadata))
    return MappedCodes.of(url, str(folder / "cache"))


def npz_rate(num: int, rng: np.random.Generator) -> float:
    """Samples a second read in random order from files that the system has in memory, both views in each."""
    with tempfile.TemporaryDirectory() as folder:
        for index in range(num):
            tokens = rng.integers(0, 2**SHAPE.bits, (VIEWS, SHAPE.num_tokens), dtype=np.int64)
            np.savez(Path(folder) / f"{index}.npz", tokens=tokens, label=index)
        order = rng.permutation(num)
        began = time.perf_counter()
        for index in order:
            with np.load(Path(folder) / f"{index}.npz") as sample:
                torch.from_numpy(sample["tokens"][index % VIEWS])
        return num / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
