"""Reports on samples, and what their pages show, for tests."""

import numpy as np

from pipeline.evaluation.fid_protocol import FidProtocol, Measurement, fid_report
from pipeline.reports.report import Report
from pipeline.tracking.lineage import Input, Origin

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8, 3), dtype=np.uint8)
CODES = Origin(Input("codes", "s3://bucket/codes", "c" * 16), ())
CHAIN = Origin(Input("samples", "/runs/samples", "s" * 16), (Origin(Input("generator", "g.bin", "g" * 16), (CODES,)),))


def report(*fids: float, num_images: int = 50_000) -> Report:
    """A report by one protocol of a set of samples for each FID."""
    measurement = Measurement(
        reference="r", inception="i", image_size=256, num_images=num_images, labels="cyclic", pixel_rule="truncated"
    )
    protocol = FidProtocol(measurement=measurement, seeds=tuple(range(len(fids))), sampling=None, precision=None)
    return fid_report([{"fid": fid, "recall": 0.6} for fid in fids], protocol)
