"""Samples + reference -> FID, sFID, IS, precision and recall, in a report that names its protocol."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain

from rich import print as show

from bar_model.errors import BadInput
from pipeline.cluster import ClusterConfig
from pipeline.extract import ExtractConfig, extract
from pipeline.features import Summary
from pipeline.fid_protocol import FidProtocol, judge, measure, too_few
from pipeline.galleries import DrawnGallery, Gallery, fingerprint, open_gallery
from pipeline.manifest import Manifest, open_stage
from pipeline.provenance import plain
from pipeline.quarantine import read_quarantine
from pipeline.references import MOMENTS, Reference, open_reference
from pipeline.report import REPORT, STAGE, Report, results_table
from pipeline.storage import Folder
from pipeline.tracking import Run, TrackingConfig


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Which samples are judged, against what, and how their features are taken."""

    samples: tuple[str, ...]
    """Folders of samples, one a seed, or npz files (N, H, W, 3) of uint8 that others have drawn."""
    reference: str
    """Npz file of moments and pictures as ADM publishes them, or a folder of class folders of pictures."""
    out: str
    """Folder for the report."""
    features: str | None = None
    """Folder for features, which evaluations may share (else: OUT/features)."""
    tokenizer: str | None = None
    """The one that samples were drawn with, where they were kept as codes alone."""
    num_images: int = 50_000
    """Samples of each set, no more and no fewer."""
    extract: ExtractConfig = field(default_factory=ExtractConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        if not self.samples:
            raise BadInput("samples: none; name at least one folder of samples")
        if self.num_images < 4:
            raise BadInput(f"num_images: {self.num_images}; at least 4 are needed, which have 3 neighbours each")


def evaluate(config: EvaluateConfig, run: Run | None = None) -> Report:
    """Writes report.json, unless it is there. Features are taken but once: without a picture, all is measured again.

    Raises:
        BadInput: samples are missing or too many, do not go together, or `config.out` holds another evaluation.
    """
    sets = [open_gallery(url, tokenizer=config.tokenizer) for url in config.samples]
    size = sets[0].image_size
    for url, gallery in zip(config.samples, sets, strict=True):
        _check_number(url, sum(unit.size for unit in gallery.plan()), config.num_images)
        if gallery.image_size != size:
            raise BadInput(f"{url} holds pictures of {gallery.image_size} px, but {config.samples[0]} of {size} px")
    reference = open_reference(config.reference, size)
    protocol = FidProtocol.of(
        [gallery.samples.drawing if isinstance(gallery, DrawnGallery) else None for gallery in sets],
        reference,
        inception=config.extract.networks.inception_sha256,
        num_images=config.num_images,
        size=size,
    )
    fingerprints = [fingerprint(gallery) for gallery in sets]
    configuration = {
        "protocol": plain(protocol),
        "inputs": {"samples": fingerprints, "reference": reference.identity},
    }
    out = Folder(config.out)
    if (published := open_stage(out, STAGE, configuration)) is not None:
        show(f"{out}: evaluated before, nothing to do")
        report = Report.from_json(out.read(REPORT))
    else:
        report = _judge(config, sets, reference, protocol, run)
        published = report.publish(out, configuration, {}, num_inputs=len(sets) * config.num_images)
    if run is not None:
        for url, name in zip(config.samples, fingerprints, strict=True):
            run.input("samples", url, name)
        run.input("reference", config.reference, reference.identity)
        _log(run, report, config.out, published)
    show(results_table(f"Results by {protocol.measurement.name}", report.results), *report.notes, sep="\n")
    return report


def check_complete(url: str, samples: Summary, wanted: int) -> None:
    """BadInput unless every image of the protocol is there once, in its order."""
    _check_number(url, len(samples.keys), wanted)
    for index, key in enumerate(samples.keys):
        if key != str(index):
            raise BadInput(
                f"{url} holds sample {key} where {index} belongs: samples are judged from 0 on, each once, in order; "
                "draw them with --first-index 0"
            )


def _judge(
    config: EvaluateConfig, sets: Sequence[Gallery], reference: Reference, protocol: FidProtocol, run: Run | None
) -> Report:
    root = config.features or Folder(config.out).path("features")
    folders = [extract(gallery, root, config.extract, run) for gallery in sets]
    by = None if reference.gallery is None else extract(reference.gallery, root, config.extract, run)
    to_compare = reference.summary(by)
    measured = []
    for url, folder in zip(config.samples, folders, strict=True):
        samples = folder.summary(tuple(MOMENTS), ("pool3", "logits"))
        check_complete(url, samples, config.num_images)
        measured.append(measure(samples, to_compare))
    notes = [*reference.missing]
    if by is not None and by.manifest.num_quarantined:
        first = next(chain.from_iterable(read_quarantine(by.folder, by.manifest).values()))
        notes.append(
            f"{by.manifest.num_quarantined:,} of the reference's pictures can't be used and were left out "
            f"(first: {first.where} {first.why})."
        )
    notes.extend(too_few(config.num_images, to_compare))
    return judge(measured, protocol, notes)


def _check_number(url: str, found: int, wanted: int) -> None:
    if found != wanted:
        raise BadInput(
            f"{url} holds {found:,} samples, but the protocol asks for {wanted:,}: draw as many, or give --num-images"
        )


def _log(run: Run, report: Report, url: str, published: Manifest) -> None:
    run.metrics({figure.name: value for figure, value in report.results})
    run.artifact(REPORT, report.to_json())
    run.output("report", url, published.fingerprint)
