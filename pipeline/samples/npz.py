"""Samples as one npz file, `arr_0` (N, H, W, 3) uint8 by image index, which the published FID evaluation reads."""

import zipfile
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import tyro

from pipeline.paths import InputUrl
from pipeline.samples.folder import SampleFolder

NPZ = "samples.npz"
_TIME = (1980, 1, 1, 0, 0, 0)
"""The time of the file inside, fixed so that equal samples give equal bytes."""


def write_npz(samples: SampleFolder, name: str) -> None:
    """Writes all samples into one npz file of their folder, with one shard in memory at a time."""
    size = samples.drawing.image_size
    header = {"descr": "|u1", "fortran_order": False, "shape": (samples.manifest.rows, size, size, 3)}
    with (
        samples.folder.writing(name) as file,
        zipfile.ZipFile(file, "w") as archive,
        archive.open(zipfile.ZipInfo("arr_0.npy", _TIME), "w", force_zip64=True) as member,
    ):
        np.lib.format.write_array_header_1_0(member, header)
        for shard in samples.shards():
            member.write(np.ascontiguousarray(shard.images).data)
            del shard  # Else it would stay while the next one is read.


@dataclass(frozen=True, kw_only=True)
class NpzConfig:
    """Which samples to write as npz."""

    folder: Annotated[InputUrl, tyro.conf.Positional, tyro.conf.arg(metavar="SAMPLES")]
    """Folder of samples, of any URL."""
    tokenizer: InputUrl | None = None
    """The tokenizer that they were drawn with, where no pictures were kept: a model folder or a published .bin file."""


def write_samples_npz(config: NpzConfig) -> None:
    """Writes samples that were drawn before, or what their codes decode to, as npz into their folder.

    Raises:
        BadInput: there are no finished samples, or they are codes alone and the tokenizer is missing or another one.
    """
    samples = SampleFolder.open(config.folder, config.tokenizer)
    write_npz(samples, NPZ)
    print(f"{samples.folder.path(NPZ)}: {samples.manifest.rows:,} images")
