"""Samples as one npz file, `arr_0` (N, H, W, 3) uint8 by image index, which the published FID evaluation reads."""

import zipfile

import numpy as np

from pipeline.samples import SampleFolder

NPZ = "samples.npz"
_TIME = (1980, 1, 1, 0, 0, 0)
"""Of the file within, so that the same samples make the same bytes."""


def write_npz(samples: SampleFolder, name: str) -> None:
    """Streams the shards into a file of their folder: one of them at a time is in memory."""
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
