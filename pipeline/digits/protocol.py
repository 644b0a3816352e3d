"""How good drawn digits are: what is measured against real scans, by which goals, and images that show it.

Distances are Euclidean in the 64 dimensions of 8×8 pixels, where these scans were made; the Frechet distance there is
no FID. The reader is used for nothing else: neither for training nor to choose samples or settings.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from bar_model.errors import BadInput
from pipeline.digits.reader import DESCRIPTION, DigitsReader, features_8x8
from pipeline.metrics.frechet import frechet_distance, moments
from pipeline.metrics.nearest import nearest
from pipeline.metrics.pixels import mean_psnr, psnr
from pipeline.reports.panel import Panel
from pipeline.reports.report import Figure, Goal, Report, Result
from pipeline.samples.shard import Drawing, Samples

PERCENTILE = 1
READER = Figure("reader_accuracy", "Reader: held-out scans read right", "%", Goal("at least", 0.98))
DIGITS_FIGURES = (
    READER,
    Figure("reconstruction_accuracy", "Reconstructions read right", "%", Goal("at least", 0.97)),
    Figure("reconstruction_psnr", "Reconstructions, PSNR", "dB"),
    Figure("class_accuracy_guided", "Samples read right, guided", "%", Goal("at least", 0.95)),
    Figure("class_accuracy_unguided", "Samples read right, unguided", "%", Goal("at least", 0.85)),
    Figure("frechet_distance_8x8_held_out", "Frechet 8×8: held-out scans"),
    Figure("frechet_distance_8x8_guided", "Frechet 8×8: samples, guided"),
    Figure("frechet_distance_8x8_unguided", "Frechet 8×8: samples, unguided"),
    Figure("frechet_ratio", "Frechet 8×8: guided ÷ held-out", "×", Goal("at most", 4)),
    Figure("copies", "Samples too near to a training scan", "%", Goal("at most", 0.05)),
)
"""What is measured; DigitsProtocol says how. `copies` are nearer to a training scan than 99 % of held-out scans are."""
SAMPLES_PER_CLASS, SHOWN_SCANS = 8, 10


class LabelledImages(NamedTuple):
    """Real images with their classes. `broken` says of each image that was left out where it is, and why."""

    images: UInt8[np.ndarray, "pictures height width 3"]
    labels: Int[np.ndarray, " pictures"]
    broken: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ImagesIdentity:
    """The number of some images, and a digest of their pixels and classes."""

    num: int
    fingerprint: str

    @classmethod
    def of(cls, pictures: LabelledImages) -> "ImagesIdentity":
        """The identity of these images."""
        digest = hashlib.sha256(pictures.images.tobytes() + pictures.labels.astype(np.int32).tobytes())
        return cls(num=len(pictures.images), fingerprint=digest.hexdigest()[:16])


class Evidence(NamedTuple):
    """What is judged, and by what. `reconstructions` are those of the held-out scans, in their order."""

    train: LabelledImages
    held_out: LabelledImages
    reconstructions: UInt8[np.ndarray, "pictures height width 3"]
    guided: Samples
    unguided: Samples


@dataclass(frozen=True, kw_only=True)
class DigitsProtocol:
    """Everything that the figures depend on. Results compare only if their protocols are equal."""

    name: str = "digits, 8×8"
    reader: str = DESCRIPTION
    frechet_distance: str = (
        "64 dimensions of 8×8 pixels; the first samples, as many as there are held-out scans, to all training scans"
    )
    neighbours: str = f"Euclidean, 8×8 pixels; against the percentile {PERCENTILE} of held-out scans"
    train: ImagesIdentity
    held_out: ImagesIdentity
    num_guided: int
    num_unguided: int
    guided: Drawing
    unguided: Drawing

    @classmethod
    def of(cls, evidence: Evidence, guided: Drawing, unguided: Drawing) -> "DigitsProtocol":
        """The protocol of a judgement by this evidence, of samples that were drawn so."""
        return cls(
            train=ImagesIdentity.of(evidence.train),
            held_out=ImagesIdentity.of(evidence.held_out),
            num_guided=len(evidence.guided.images),
            num_unguided=len(evidence.unguided.images),
            guided=guided,
            unguided=unguided,
        )


def digits_report(evidence: Evidence, protocol: DigitsProtocol) -> Report:
    """A report of the figures and their goals.

    Raises:
        BadInput: there are fewer samples than held-out scans.
    """
    measured = measure_digits(evidence)
    results = [Result(figure, measured[figure.name]) for figure in DIGITS_FIGURES]
    _, exact = mean_psnr(psnr(evidence.held_out.images, evidence.reconstructions))
    return Report(
        protocol=protocol,
        results=tuple(result for result in results if not np.isnan(result.value)),
        notes=(*_notes(evidence, measured[READER.name]), *exact),
    )


def measure_digits(evidence: Evidence) -> dict[str, float]:
    """The value of each figure, by its name.

    Raises:
        BadInput: there are fewer samples than held-out scans.
    """
    train, held_out, reconstructions, guided, unguided = evidence
    num = len(held_out.images)
    for samples in (guided, unguided):
        if len(samples.images) < num:
            raise BadInput(f"{len(samples.images)} samples: draw at least {num}, as many as there are held-out scans")
    scans, others = features_8x8(train.images), features_8x8(held_out.images)
    drawn, drawn_freely = features_8x8(guided.images), features_8x8(unguided.images)
    reader, to_train = DigitsReader(scans, train.labels), moments(scans)
    distances = [frechet_distance(moments(some[:num]), to_train) for some in (others, drawn, drawn_freely)]
    usual = np.percentile(nearest(others, scans).distances, PERCENTILE)
    return {
        "reader_accuracy": reader.accuracy(others, held_out.labels),
        "reconstruction_accuracy": reader.accuracy(features_8x8(reconstructions), held_out.labels),
        "reconstruction_psnr": mean_psnr(psnr(held_out.images, reconstructions))[0],
        "class_accuracy_guided": reader.accuracy(drawn, guided.labels),
        "class_accuracy_unguided": reader.accuracy(drawn_freely, unguided.labels),
        "frechet_distance_8x8_held_out": distances[0],
        "frechet_distance_8x8_guided": distances[1],
        "frechet_distance_8x8_unguided": distances[2],
        "frechet_ratio": distances[1] / distances[0],
        "copies": float((nearest(drawn, scans).distances < usual).mean()),
    }


def panels(evidence: Evidence, protocol: DigitsProtocol) -> dict[str, Panel]:
    """The panels of a report, by name."""
    train, held_out, reconstructions, guided, unguided = evidence
    classes = [int(label) for label in np.unique(guided.labels)]
    some = _spread(len(held_out.images), 2 * SHOWN_SCANS)
    found = nearest(features_8x8(guided.images), features_8x8(train.images))
    closest = found.distances.argsort(kind="stable")[:SHOWN_SCANS]
    first = np.arange(min(SHOWN_SCANS, len(guided.images)))
    pairs = {"first samples": first, "the samples that are nearest of all": closest}
    return {
        "samples": Panel(
            "Samples by class",
            [str(label) for label in classes],
            {
                f"guidance {protocol.guided.sampling.guidance_scale:g}": _by_class(guided, classes),
                "without guidance": _by_class(unguided, classes),
            },
            f"A row a class: the first {SAMPLES_PER_CLASS} samples of each, not chosen.",
        ),
        "reconstructions": Panel(
            "Held-out scans and their reconstructions",
            ["scan", "reconstruction"],
            {"": np.stack([held_out.images[some], reconstructions[some]])},
            "Scans from all classes that no training has seen, and what their codes keep of them.",
        ),
        "neighbours": Panel(
            "Samples and the training scans nearest to them",
            ["sample", "training scan"],
            {name: np.stack([guided.images[of], train.images[found.indices[of]]]) for name, of in pairs.items()},
            "Distances are Euclidean in 8×8 pixels. A memorised sample would stand above its original.",
        ),
    }


def _notes(evidence: Evidence, reader_accuracy: float) -> tuple[str, ...]:
    notes = [
        f"{len(pictures.broken)} of the {name} pictures can't be used and were left out (first: {pictures.broken[0]})."
        for name, pictures in (("training", evidence.train), ("held-out", evidence.held_out))
        if pictures.broken
    ]
    if not Result(READER, reader_accuracy).is_met:
        notes.append(
            "The reader is not reliable enough: "
            f"it reads only {READER.shown(reader_accuracy)} of the held-out scans right."
        )
    return tuple(notes)


def _by_class(samples: Samples, classes: Sequence[int]) -> UInt8[np.ndarray, "classes columns height width 3"]:
    """The first samples of each class."""
    columns = min(SAMPLES_PER_CLASS, *(int((samples.labels == label).sum()) for label in classes))
    return np.stack([samples.images[samples.labels == label][:columns] for label in classes])


def _spread(num: int, most: int) -> Int[np.ndarray, " shown"]:
    """Indices from all over a list that is sorted by class."""
    return np.linspace(0, num - 1, min(num, most)).round().astype(int)
