"""The stage that judges drawn digits: samples, reconstructions and real scans -> a report with images."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8

from bar_model import checkpoint
from bar_model.configuration import digest, plain
from bar_model.errors import BadInput
from bar_model.tokenizer.tokenizer import Tokenizer
from pipeline.cluster import ClusterConfig
from pipeline.digits.protocol import DigitsProtocol, Evidence, LabelledImages, digits_report, panels
from pipeline.images.class_folders import ImageFolder
from pipeline.images.codec import BadImage, decode_and_crop, from_model, to_model, to_png
from pipeline.images.source import in_portions, read_all
from pipeline.paths import InputUrl, OutputFolder
from pipeline.reports.page import Illustration
from pipeline.reports.panel import draw_page, draw_panel
from pipeline.reports.publish import Findings, report_once
from pipeline.reports.report import Report, results_table
from pipeline.samples.folder import SampleFolder
from pipeline.samples.shard import Drawing
from pipeline.storage import Folder, local_copy
from pipeline.terminal import show
from pipeline.tracking.lineage import Input, Judged
from pipeline.tracking.run import Run
from pipeline.tracking.start import TrackingConfig

PICTURE = "report.png"
READ_AT_ONCE, BATCH_SIZE, SCALE = 512, 64, 2


@dataclass(frozen=True, kw_only=True)
class EvaluateDigitsConfig:
    """What is judged, and against which images."""

    samples: InputUrl
    """Folder of samples with guidance."""
    unguided_samples: InputUrl
    """Folder of samples without guidance."""
    tokenizer: InputUrl
    """Model folder of the tokenizer that decoded them; its reconstructions are judged, too."""
    train: InputUrl
    """Folder of class folders of the pictures that were trained on."""
    held_out: InputUrl
    """Folder of class folders of pictures that no training has seen."""
    out: OutputFolder
    """Folder for the report."""
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


def evaluate_digits(config: EvaluateDigitsConfig, run: Run | None = None) -> Report:
    """Writes report.json, report.html and report.png, unless they are there.

    Raises:
        BadInput: samples, tokenizer and images do not go together, or `config.out` holds another evaluation.
    """
    guided, unguided = (SampleFolder.open(url, config.tokenizer) for url in (config.samples, config.unguided_samples))
    evidence, protocol = gather(config, guided, unguided)
    judged = digits_report(evidence, protocol)
    fingerprints = {
        "samples": guided.manifest.fingerprint,
        "unguided_samples": unguided.manifest.fingerprint,
        "tokenizer": protocol.guided.tokenizer,
        "train": protocol.train.fingerprint,
        "held_out": protocol.held_out.fingerprint,
    }
    inputs = [Input(name, getattr(config, name), fingerprint) for name, fingerprint in fingerprints.items()]
    configuration = {"protocol": plain(protocol), "inputs": fingerprints}

    def find() -> Findings:
        shown = panels(evidence, protocol)
        if run is not None:
            for name, panel in shown.items():
                run.image(name, draw_panel(panel, scale=SCALE))
        illustrations = [Illustration.of(panel) for panel in shown.values()]
        page = to_png(draw_page(list(shown.values()), scale=SCALE))
        num = protocol.num_guided + protocol.num_unguided
        return Findings(judged, illustrations, num, {PICTURE: page})

    out, whose = Folder(config.out), Judged(protocol.guided.generator, protocol.name, digest(protocol))
    report = report_once("Digits that were drawn", out, configuration, inputs, find, run, judged=whose)
    show(results_table("Results", report.results), *report.notes)
    return report


def gather(
    config: EvaluateDigitsConfig, guided: SampleFolder, unguided: SampleFolder
) -> tuple[Evidence, DigitsProtocol]:
    """Everything that is judged, in memory, and the protocol of its judgement.

    Raises:
        BadInput: samples, tokenizer and images do not go together.
    """
    tokenizer = checkpoint.load_tokenizer(local_copy(config.tokenizer))
    _check_samples(config, guided.drawing, unguided.drawing, checkpoint.fingerprint(tokenizer))
    train, held_out = ImageFolder.open(config.train), ImageFolder.open(config.held_out)
    if train.classes != held_out.classes:
        raise BadInput(f"{config.train} and {config.held_out} hold other classes: labels must mean the same in both")
    scans, others = (_read_pictures(source, tokenizer.config.image_size) for source in (train, held_out))
    reconstructions = reconstruct(tokenizer, others.images)
    evidence = Evidence(scans, others, reconstructions, guided.read(), unguided.read())
    return evidence, DigitsProtocol.of(evidence, guided.drawing, unguided.drawing)


def reconstruct(
    tokenizer: Tokenizer, images: UInt8[np.ndarray, "batch height width 3"]
) -> UInt8[np.ndarray, "batch height width 3"]:
    """Images decoded again from their codes."""
    batches = (to_model(images[start : start + BATCH_SIZE]) for start in range(0, len(images), BATCH_SIZE))
    return np.concatenate([from_model(tokenizer.decode(tokenizer.encode(batch))) for batch in batches])


def _check_samples(config: EvaluateDigitsConfig, guided: Drawing, unguided: Drawing, tokenizer: str) -> None:
    if unguided.sampling.guided:
        raise BadInput(f"{config.unguided_samples} was drawn with guidance: draw it with --guidance-scale 1")
    for name in ("generator", "tokenizer"):
        one, other = getattr(guided, name), getattr(unguided, name)
        if one != other:
            raise BadInput(f"{config.samples} and {config.unguided_samples} are of two {name}s, {one} and {other}")
    if guided.tokenizer != tokenizer:
        raise BadInput(
            f"{config.samples} was decoded by tokenizer {guided.tokenizer}, but {config.tokenizer} is {tokenizer}: "
            "give the one that decoded them"
        )


def _read_pictures(source: ImageFolder, size: int) -> LabelledImages:
    images, labels, broken = [], [], []
    for some in in_portions(source.listing(), READ_AT_ONCE):
        for item in read_all(source, some):
            try:
                if isinstance(item.data, BadImage):
                    raise item.data
                images.append(decode_and_crop(item.data, size))
                labels.append(item.label)
            except BadImage as error:
                broken.append(f"{item.where} {error}")
    if not images:
        raise BadInput(f"{source.url} holds no pictures that can be used: check what lies in its class folders")
    return LabelledImages(np.stack(images), np.array(labels, np.int32), tuple(broken))
