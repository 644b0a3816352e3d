"""The images of a report on samples: some of them, the real images nearest to these, and quality beside cost."""

import io

import numpy as np
from jaxtyping import Float, UInt8

from pipeline.evaluation.fid_protocol import Measurement
from pipeline.evaluation.image_sets import ImageSet
from pipeline.evaluation.nearest_images import nearest_images
from pipeline.evaluation.paper_results import PAPER_HARDWARE, PAPER_RESULTS
from pipeline.features.folder import FeatureFolder
from pipeline.reports.page import Illustration
from pipeline.reports.panel import Panel

SHOWN_SAMPLES, COLUMNS = 50, 10
QUERIES, SHOWN_NEIGHBOURS = 8, 4


def samples_shown(images: UInt8[np.ndarray, "images height width 3"], source: str) -> Illustration:
    """An illustration of the first samples, in the order of their indices."""
    num = min(SHOWN_SAMPLES, len(images) // COLUMNS * COLUMNS) or len(images)
    grid = images[:num].reshape(-1, min(COLUMNS, num), *images.shape[1:])
    about = f"The first {num} of {source}, not chosen."
    return Illustration.of(Panel("Samples", [""] * len(grid), {"": grid}, about))


def neighbours_shown(
    samples: UInt8[np.ndarray, "images height width 3"],
    features: Float[np.ndarray, "images dims"],
    among: ImageSet,
    among_features: FeatureFolder,
    source: str,
) -> Illustration:
    """An illustration of the first samples, each beside the images whose features are nearest to its own."""
    queries = features[:QUERIES]
    images, distances = nearest_images(queries, among, among_features, SHOWN_NEIGHBOURS)
    about = (
        f"Each of the first samples, and the {images.shape[1]} pictures of {source} that are nearest to it in "
        "Inception's pool3 (Euclidean; the distance of the nearest is on the left). A memorised sample would stand "
        "beside its original."
    )
    groups = {"sample": samples[: len(queries), None], "nearest first": images}
    return Illustration.of(Panel("Nearest real pictures", [f"{row[0]:.1f}" for row in distances], groups, about))


def cost_shown(fid: float, measurement: Measurement, images_per_s: float | None, hardware: str | None) -> Illustration:
    """A plot of FID over images/s, of the published checkpoints on their machine and of this report's on its own."""
    where = hardware or "unknown hardware"
    ours = f"this report: {measurement.num_images:,} images, {where}"
    theirs = f"published (256 px, 50,000 images, ADM's evaluation), {PAPER_HARDWARE}"
    known = "" if images_per_s is not None else " How quickly these samples were drawn is not known: a line."
    about = (
        f"Published points are the authors' own, measured on {PAPER_HARDWARE} by their evaluation; this report's is "
        f"measured by the protocol below, on {where}, with all that drawing takes from the start of the workers. "
        f"Protocols and hardware differ, so these points do not compare as they stand and are not ranked.{known}"
    )
    return Illustration("Quality and cost", about, _scatter(fid, images_per_s, ours, theirs), "image/svg+xml")


def _scatter(fid: float, images_per_s: float | None, ours: str, theirs: str) -> bytes:
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.add_subplot(xlabel="images/s", ylabel="FID", xscale="log", yscale="log")
    points = {name: (row.images_per_s, row.figures["fid"]) for name, row in PAPER_RESULTS.items() if row.images_per_s}
    axes.scatter(*zip(*points.values(), strict=True), facecolors="none", edgecolors="tab:gray", label=theirs)
    for name, point in points.items():
        axes.annotate(name, point, xytext=(-6, 6), textcoords="offset points", ha="right", color="tab:gray")
    if images_per_s is None:
        axes.axhline(fid, color="tab:red", linestyle="--", label=ours)
    else:
        axes.scatter([images_per_s], [fid], color="tab:red", marker="D", label=ours)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(ScalarFormatter())
        axis.set_minor_formatter(NullFormatter())
    axes.margins(0.15)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), frameon=False)
    file = io.BytesIO()
    # Without a date and with fixed names, equal figures give equal files.
    with mpl.rc_context({"svg.hashsalt": "bar"}):
        FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None})
    return file.getvalue()
