"""The figures of drawn images, and everything that these depend on.

The published rules are those of guided diffusion's evaluation (ADM; Dhariwal & Nichol, 2021).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from bar_model.errors import BadInput
from bar_model.generator.sampling import Sampling
from pipeline.evaluation.reference import DINOV2, MAX_IMAGES, Reference
from pipeline.features.folder import Summary
from pipeline.metrics.frechet import frechet_distance
from pipeline.metrics.kernel_distance import KID_SUBSET, kernel_distance
from pipeline.metrics.precision_recall import (
    DENSITY_NEIGHBOURS,
    NEIGHBOURS,
    density_coverage,
    half_squared_distances,
    precision_recall,
)
from pipeline.metrics.scores import SHUFFLED_PARTS, SPLIT, inception_score, shuffled_inception_score
from pipeline.pretrained.dinov2 import RULE
from pipeline.pretrained.inception import RESIZE
from pipeline.reports.report import Figure, Report, Result
from pipeline.samples.shard import Drawing

FID_FIGURES = (
    Figure("fid", "FID"),
    Figure("inception_score", "IS"),
    Figure("sfid", "sFID"),
    Figure("precision", "Precision"),
    Figure("recall", "Recall"),
    Figure("inception_score_shuffled", "IS, shuffled (torch-fidelity)"),
    Figure("precision_float32", "Precision, float32"),
    Figure("recall_float32", "Recall, float32"),
    Figure("kid", "KID"),
    Figure("density", "Density"),
    Figure("coverage", "Coverage"),
    Figure("fd_dinov2", "FD-DINOv2"),
)
"""What is measured; Measurement says how."""
PUBLISHED_FIGURES = FID_FIGURES[:5]
"""The figures of the published table."""
FRECHET = {"fid": "pool3", "sfid": "spatial", "fd_dinov2": DINOV2}
"""Frechet distances, and the features that they compare."""
DISTANCES = (*FRECHET, "kid")
"""Figures of which several sets also give the minimum, under that name."""
UNKNOWN = "as they came in the file"


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Everything that two results must share before they compare."""

    name: str = "ADM's rules, torch-fidelity's Inception-v3 in float32"
    reference: str
    """SHA-256 of its file, or a digest over its pictures."""
    inception: str
    """SHA-256 of its weights."""
    image_size: int
    num_images: int
    labels: str
    pixel_rule: str
    order: str = "by image index, from 0"
    resize: str = RESIZE
    inception_score: str = f"mean over parts of {SPLIT:,} in that order, logits without bias"
    precision_recall: str = f"k = {NEIGHBOURS}, all samples, up to {MAX_IMAGES:,} reference pictures; float16"
    density_coverage: str = f"k = {DENSITY_NEIGHBOURS}, the same pictures; float32"
    kid: str = f"100 subsets of {KID_SUBSET:,}, the same pictures"
    dinov2: str | None = None
    """SHA-256 of DINOv2's weights, and what is taken of it; None without FD-DINOv2."""


@dataclass(frozen=True, kw_only=True)
class FidProtocol:
    """How samples were measured, and how they were drawn (None if that is unknown)."""

    measurement: Measurement
    seeds: tuple[int, ...] | None
    sampling: Sampling | None
    precision: str | None

    @classmethod
    def of(
        cls,
        drawings: Sequence[Drawing | None],
        reference: Reference,
        *,
        inception: str,
        num_images: int,
        size: int,
        dinov2: str | None = None,
    ) -> "FidProtocol":
        """The protocol of sets of samples that differ in their seeds alone.

        Raises:
            BadInput: two sets have the same seed, or sets differ in more than their seeds.
        """
        known = [drawing for drawing in drawings if drawing is not None]
        for drawing in known:
            if replace(drawing, seed=known[0].seed) != known[0] or len(known) < len(drawings):
                raise BadInput("samples: the sets differ in more than their seeds: evaluate them one by one")
        seeds = tuple(drawing.seed for drawing in known)
        if len(set(seeds)) < len(seeds):
            raise BadInput(f"samples: two sets are of one seed ({', '.join(map(str, seeds))}): give each seed once")
        first = known[0] if known else None
        return cls(
            measurement=Measurement(
                reference=reference.identity,
                inception=inception,
                dinov2=dinov2 and f"SHA-256 {dinov2}; {RULE}",
                image_size=size,
                num_images=num_images,
                labels=UNKNOWN if first is None else first.labels,
                pixel_rule=UNKNOWN if first is None else first.pixel_rule,
            ),
            seeds=seeds or None,
            sampling=first and first.sampling,
            precision=first and first.precision,
        )

    @property
    def set_names(self) -> tuple[str, ...] | None:
        """The names of the sets by their seeds, None if those are unknown."""
        return None if self.seeds is None else tuple(f"seed {seed}" for seed in self.seeds)


def measure_samples(samples: Summary, reference: Summary) -> dict[str, float]:
    """The figures that the reference allows, by name."""
    logits = samples.features["logits"]
    measured = {
        name: frechet_distance(samples.moments[feature], reference.moments[feature])
        for name, feature in FRECHET.items()
        if feature in reference.moments and feature in samples.moments
    }
    measured["inception_score"] = inception_score(logits)
    if len(logits) >= SHUFFLED_PARTS:
        measured["inception_score_shuffled"] = shuffled_inception_score(logits)
    if "pool3" in reference.features:
        features = reference.features["pool3"], samples.features["pool3"]
        real, drawn = map(torch.from_numpy, features)
        if min(map(len, features)) > NEIGHBOURS:
            measured["precision"], measured["recall"] = precision_recall(real, drawn, half_squared_distances)
            measured["precision_float32"], measured["recall_float32"] = precision_recall(real, drawn)
        if len(real) > DENSITY_NEIGHBOURS:
            measured["density"], measured["coverage"] = density_coverage(real, drawn)
        if min(map(len, features)) >= KID_SUBSET:
            measured["kid"] = kernel_distance(*features)
    return {figure.name: measured[figure.name] for figure in FID_FIGURES if figure.name in measured}


def notes_on_too_few(num_images: int, reference: Summary) -> tuple[str, ...]:
    """Sentences on what can't be measured because there are too few images."""
    notes = []
    if num_images < SHUFFLED_PARTS:
        notes.append(f"{num_images} samples make no {SHUFFLED_PARTS} parts: no shuffled IS.")
    if "pool3" not in reference.features:
        return tuple(notes)
    num_real = len(reference.features["pool3"])
    if min(num_images, num_real) <= NEIGHBOURS:
        notes.append(f"Of {num_real:,} reference pictures none has {NEIGHBOURS} neighbours: no precision and recall.")
    if num_real <= DENSITY_NEIGHBOURS:
        notes.append(
            f"Of {num_real:,} reference pictures none has {DENSITY_NEIGHBOURS} neighbours: no density and coverage."
        )
    if min(num_images, num_real) < KID_SUBSET:
        notes.append(f"KID draws subsets of {KID_SUBSET:,}, and there are fewer pictures: no KID.")
    return tuple(notes)


def fid_report(measured: Sequence[Mapping[str, float]], protocol: FidProtocol, notes: Sequence[str] = ()) -> Report:
    """A report of the figures of one set, or of mean, standard deviation, minimum and each value of several sets."""
    results: list[Result] = []
    for figure in FID_FIGURES:
        values = [each[figure.name] for each in measured if figure.name in each]
        if len(values) == 1:
            results.append(Result(figure, values[0]))
        elif values:
            name, title = figure.name, figure.title
            num = len(values)
            results.append(Result(Figure(name, f"{title}, mean of {num} sets"), float(np.mean(values))))
            results.append(Result(Figure(f"{name}_sd", f"{title}, standard deviation"), float(np.std(values, ddof=1))))
            if name in DISTANCES:
                results.append(Result(Figure(f"{name}_min", f"{title}, minimum of {num} sets"), min(values)))
            sets = protocol.set_names or tuple(f"set {index}" for index in range(num))
            for which, value in zip(sets, values, strict=True):
                results.append(Result(Figure(f"{name}_{which.replace(' ', '_')}", f"{title}, {which}"), value))
    return Report(protocol=protocol, results=tuple(results), notes=tuple(notes))
