"""The stage that judges samples by a reference: FID, sFID, IS, precision and recall in a report."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import Annotated, NamedTuple

from bar_model.configuration import digest, plain
from bar_model.errors import BadInput
from bar_model.ranges import Range, check_ranges
from pipeline.cluster import HARDWARE_TAG, ClusterConfig
from pipeline.evaluation.extract import ExtractConfig, extract
from pipeline.evaluation.fid_protocol import FidProtocol, fid_report, measure_samples, notes_on_too_few
from pipeline.evaluation.illustrations import cost_shown, neighbours_shown, samples_shown
from pipeline.evaluation.image_sets import ImageSet, NpzImageSet, SampleImageSet, image_set_fingerprint, open_image_set
from pipeline.evaluation.reference import DINOV2, MOMENTS, Reference, check_reference, open_reference
from pipeline.evaluation.sample_sets import sample_inputs, sample_sets
from pipeline.execution.quarantine import read_quarantine
from pipeline.features.folder import FeatureFolder, Summary
from pipeline.images.source_config import SourceConfig
from pipeline.paths import InputUrl, OutputFolder, SourceUrl
from pipeline.reports.page import Illustration
from pipeline.reports.publish import Findings, report_once
from pipeline.reports.report import Report, results_table
from pipeline.storage import Folder
from pipeline.terminal import show
from pipeline.tracking.lineage import Input, Judged, RunSummary, find_summary
from pipeline.tracking.run import Run
from pipeline.tracking.start import TrackingConfig

ImageCount = Annotated[int, Range(least=4, most=10**9)]
"""A number of samples that can be judged: each has 3 neighbours."""


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(SourceConfig):
    """Which samples are judged, by which reference, and how their features are taken."""

    samples: tuple[InputUrl, ...]
    """Folders of samples, one a seed, or several of one seed, of which each goes on where another ends (first_index);
    or npz files (N, H, W, 3) of uint8 that others have drawn."""
    reference: SourceUrl
    """Npz file of moments and pictures as ADM publishes them, or any source of pictures that tokenizing takes."""
    out: OutputFolder
    """Folder for the report."""
    features: OutputFolder | None = None
    """Folder for features, which evaluations may share (else: OUT/features)."""
    tokenizer: InputUrl | None = None
    """The one that samples were drawn with, where they were kept as codes alone."""
    num_images: ImageCount = 50_000
    """Samples of each set, no more and no fewer."""
    neighbours: SourceUrl | None = None
    """Pictures among which the report looks for those nearest to samples, such as the training set's folder (else: the
    reference's)."""
    extract: ExtractConfig = field(default_factory=ExtractConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        check_ranges(self)
        if not self.samples:
            raise BadInput("samples: none are given; name at least one folder of samples")


class Subject(NamedTuple):
    """What is judged, and by what."""

    sets: Mapping[str, ImageSet]
    """By their URLs, joined by " + " where several folders make one."""
    reference: Reference
    neighbours: ImageSet | None
    protocol: FidProtocol


def evaluate(config: EvaluateConfig, run: Run | None = None) -> Report:
    """Writes report.json and report.html, unless they are there; inside a Ray session.

    Features are taken only once. All can be measured again without the images.

    Raises:
        BadInput: samples are missing or too many, do not go together, or `config.out` holds another evaluation.
    """
    subject = _open(config)
    sets, reference, neighbours, protocol = subject
    pictures = {url: image_set_fingerprint(image_set) for url, image_set in sets.items()}
    fingerprints = {"samples": [*pictures.values()], "reference": reference.identity}
    inputs = list(sample_inputs(config.samples, sets, pictures))
    inputs.append(Input("reference", config.reference, reference.identity))
    if config.neighbours is not None and neighbours is not None:
        fingerprints["neighbours"] = image_set_fingerprint(neighbours)
        inputs.append(Input("neighbours", config.neighbours, fingerprints["neighbours"]))
    configuration = {"protocol": plain(protocol), "inputs": fingerprints}
    find = partial(_judge, config, subject, run)
    out, judged = Folder(config.out), _register(config, next(iter(sets.values())), protocol, run)
    report = report_once("Samples beside real pictures", out, configuration, inputs, find, run, judged=judged)
    show(results_table(f"Results by {protocol.measurement.name}", report.results), *report.notes)
    return report


def check_complete(url: str, samples: Summary, needed: int) -> None:
    """Checks that every image of the protocol is there once, in its order.

    Raises:
        BadInput: images are missing, too many or in another order.
    """
    _check_number(url, len(samples.keys), needed)
    for index, key in enumerate(samples.keys):
        if key != str(index):
            raise BadInput(
                f"{url} holds sample {key} where {index} belongs: samples are judged from 0 on, each once, in order; "
                "draw them with --first-index 0"
            )


def _open(config: EvaluateConfig) -> Subject:
    sets = sample_sets(config.samples, config.tokenizer)
    size = next(iter(sets.values())).image_size
    for url, image_set in sets.items():
        _check_number(url, sum(unit.size for unit in image_set.plan()), config.num_images)
        if image_set.image_size != size:
            raise BadInput(f"{url} holds pictures of {image_set.image_size} px, but {config.samples[0]} of {size} px")
    networks = config.extract.networks
    needed = (*MOMENTS, *([DINOV2] if networks.dinov2 is not None else []))
    for image_set in sets.values():
        if isinstance(image_set, NpzImageSet):
            image_set.check_content()
    reference = open_reference(config.reference, size, needed, sources=config)
    check_reference(config.reference, reference)
    neighbours = reference.image_set
    if config.neighbours is not None:
        neighbours = open_image_set(config.neighbours, size, sources=config)
    protocol = FidProtocol.of(
        [each.samples.drawing if isinstance(each, SampleImageSet) else None for each in sets.values()],
        reference,
        inception=networks.inception_sha256,
        dinov2=networks.dinov2_found,
        num_images=config.num_images,
        size=size,
    )
    return Subject(sets, reference, neighbours, protocol)


def _judge(config: EvaluateConfig, subject: Subject, run: Run | None) -> Findings:
    sets, reference, neighbours, protocol = subject
    root = config.features or Folder(config.out).path("features")
    folders = [extract(image_set, root, config.extract, run) for image_set in sets.values()]
    by = None if reference.image_set is None else extract(reference.image_set, root, config.extract, run)
    to_compare = reference.summary(by)
    measured = []
    for url, folder in zip(sets, folders, strict=True):
        samples = folder.summary(reference.needed, ("pool3", "logits"))
        check_complete(url, samples, config.num_images)
        measured.append(measure_samples(samples, to_compare))
    notes = [*reference.missing]
    if by is not None and by.manifest.num_quarantined:
        first = next(chain.from_iterable(read_quarantine(by.folder, by.manifest).values()))
        notes.append(
            f"{by.manifest.num_quarantined:,} of the reference's pictures can't be used and were left out "
            f"(first: {first.where} {first.why})."
        )
    notes.extend(notes_on_too_few(config.num_images, to_compare))
    among = by if config.neighbours is None or neighbours is None else extract(neighbours, root, config.extract, run)
    report = fid_report(measured, protocol, notes)
    try:
        illustrations = _illustrate(config, subject, folders[0], among)
    except (BadInput, OSError) as error:
        report, illustrations = replace(report, notes=(*report.notes, f"Pictures can't be shown: {error}")), []
    return Findings(report, [*illustrations, *_costs(config, report)], len(sets) * config.num_images)


def _illustrate(
    config: EvaluateConfig, subject: Subject, features: FeatureFolder, among: FeatureFolder | None
) -> list[Illustration]:
    """The images of the report. If they are gone, everything else is measured without them."""
    image_set = next(iter(subject.sets.values()))
    images = image_set.read(next(image_set.plan()))["images"]
    illustrations = [samples_shown(images, config.samples[0])]
    if subject.neighbours is not None and among is not None:
        pool3 = next(features.shards()).features["pool3"]
        source = config.neighbours or config.reference
        illustrations.append(neighbours_shown(images, pool3, subject.neighbours, among, source))
    return illustrations


def _costs(config: EvaluateConfig, report: Report) -> list[Illustration]:
    """What the samples cost, if the run that drew them has left a summary."""
    summary = _summary(config)
    rate, hardware = summary.metrics.get("images_per_s"), summary.tags.get(HARDWARE_TAG)
    fids = [value for figure, value in report.results if figure.name == "fid"]
    return [cost_shown(fid, report.protocol.measurement, rate, hardware) for fid in fids]


def _register(config: EvaluateConfig, image_set: ImageSet, protocol: FidProtocol, run: Run | None) -> Judged | None:
    """The checkpoint that drew the samples. It is registered with the run if its place is known."""
    if not isinstance(image_set, SampleImageSet):
        return None
    model, measurement = image_set.samples.drawing.generator, protocol.measurement
    if run is not None:
        for each in _summary(config).inputs:
            if each.fingerprint == model:
                run.model("bar", each.url, model)
    return Judged(model, f"{measurement.num_images:,} images, {measurement.name}", digest(measurement))


def _summary(config: EvaluateConfig) -> RunSummary:
    """The summary that the run which drew the first samples left there; an empty one if there is none."""
    return find_summary(config.samples[0]) or RunSummary(run="")


def _check_number(url: str, found: int, needed: int) -> None:
    if found != needed:
        raise BadInput(
            f"{url} holds {found:,} samples, but the protocol needs {needed:,}: draw as many, or give --num-images"
        )
