"""What is reported of sets of samples, and which sets make one result."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bar_model.bits import CodeShape
from bar_model.errors import BadInput
from bar_model.generator.sampling import Sampling
from pipeline.evaluation.fid_protocol import FID_FIGURES, FidProtocol, fid_report, measure_samples, notes_on_too_few
from pipeline.evaluation.reference import Reference
from pipeline.features.folder import Summary
from pipeline.metrics.frechet import frechet_distance, moments
from pipeline.samples.shard import Drawing

RNG = np.random.default_rng(0)
REFERENCE = Reference(identity="r" * 64, moments={}, image_set=None)
DRAWING = Drawing(
    generator="g",
    tokenizer="t",
    codes=CodeShape(grid=2, bits=4),
    image_size=32,
    seed=3,
    labels="cyclic, 0 to 9",
    sampling=Sampling(guidance_scale=2.0, temperature=1.0, allocation=(2, 2)),
    batch_size=4,
    precision="float32",
    device="cpu",
)


def protocol(*drawings: Drawing | None) -> FidProtocol:
    return FidProtocol.of(drawings, REFERENCE, inception="i" * 64, num_images=40, size=32)


def summary(num: int) -> Summary:
    features = {name: RNG.normal(size=(num, 6)).astype(np.float32) for name in ("pool3", "spatial", "logits")}
    return Summary(tuple(map(str, range(num))), {name: moments(each) for name, each in features.items()}, features)


def test_a_protocol_says_all_that_figures_depend_on() -> None:
    report = fid_report([measure_samples(summary(40), summary(30))], protocol(DRAWING))
    document: Any = json.loads(report.to_json())["protocol"]
    assert document["seeds"] == [3]
    assert document["sampling"]["guidance_scale"] == 2.0
    assert document["sampling"]["allocation"] == [2, 2]
    measurement = document["measurement"]
    assert measurement["reference"] == "r" * 64
    assert measurement["inception"] == "i" * 64
    assert measurement["num_images"] == 40
    assert measurement["labels"] == "cyclic, 0 to 9"
    assert "truncated" in measurement["pixel_rule"]
    foreign = protocol(None)
    assert (foreign.seeds, foreign.sampling, foreign.measurement.labels) == (None, None, "as they came in the file")


def test_guidance_and_seeds_do_not_keep_results_from_comparing_but_all_else_does() -> None:
    stronger = replace(DRAWING, seed=4, sampling=replace(DRAWING.sampling, guidance_scale=3.0))
    assert protocol(stronger).measurement == protocol(DRAWING).measurement
    assert protocol(replace(DRAWING, labels="cyclic, 0 to 0")).measurement != protocol(DRAWING).measurement


def test_only_sets_that_differ_in_their_seeds_make_one_result() -> None:
    others = [replace(DRAWING, seed=seed) for seed in (4, 5)]
    assert protocol(DRAWING, *others).seeds == (3, 4, 5)
    with pytest.raises(BadInput, match="two sets are of one seed"):
        protocol(DRAWING, others[0], DRAWING)
    for other in (replace(others[0], precision="bfloat16"), replace(others[0], generator="h"), None):
        with pytest.raises(BadInput, match="differ in more than their seeds"):
            protocol(DRAWING, other)


def test_several_seeds_give_mean_and_deviation_and_the_least_by_that_name() -> None:
    measured = [{"fid": value, "precision": value / 10} for value in (3.0, 1.0, 2.0)]
    drawings = [replace(DRAWING, seed=seed) for seed in (3, 4, 5)]
    report = fid_report(measured, protocol(*drawings))
    values = {figure.name: value for figure, value in report.results}
    assert values == pytest.approx(
        {
            "fid": 2.0,
            "fid_sd": 1.0,
            "fid_min": 1.0,
            "fid_seed_3": 3.0,
            "fid_seed_4": 1.0,
            "fid_seed_5": 2.0,
            "precision": 0.2,
            "precision_sd": 0.1,
            "precision_seed_3": 0.3,
            "precision_seed_4": 0.1,
            "precision_seed_5": 0.2,
        }
    )
    titles = {figure.name: figure.title for figure, _ in report.results}
    assert (titles["fid"], titles["fid_min"]) == ("FID, mean of 3 sets", "FID, minimum of 3 sets")
    (alone, *_) = fid_report(measured[:1], protocol(DRAWING)).results
    assert (alone.figure.name, alone.figure.title, alone.value) == ("fid", "FID", 3.0)


def test_what_the_reference_lacks_is_not_measured() -> None:
    samples, reference = summary(40), summary(30)
    every = measure_samples(samples, reference)
    assert set(every) == {figure.name for figure in FID_FIGURES} - {
        "kid",
        "fd_dinov2",
    }  # For want of 1,000 pictures, and weights.
    assert every["sfid"] == frechet_distance(samples.moments["spatial"], reference.moments["spatial"])
    published = Summary((), {"pool3": reference.moments["pool3"]}, {})
    assert set(measure_samples(samples, published)) == {"fid", "inception_score", "inception_score_shuffled"}
    assert measure_samples(samples, published)["fid"] == every["fid"]


@pytest.mark.parametrize(
    ("num_samples", "num_real", "lacking"),
    [(40, 30, 0), (40, 5, 1), (40, 3, 2), (40, 2, 2), (5, 30, 0), (3, 30, 1)],
)
def test_what_lacks_neighbours_is_left_out_with_a_note_and_the_rest_is_measured(
    num_samples: int, num_real: int, lacking: int
) -> None:
    samples, reference = summary(num_samples), summary(num_real)
    measured = measure_samples(samples, reference)
    assert measured.keys() >= {"fid", "sfid", "inception_score"}
    assert ("precision" in measured) is (min(num_samples, num_real) > 3)
    assert ("density" in measured) is (num_real > 5)
    notes = [note for note in notes_on_too_few(num_samples, reference) if "neighbours" in note]
    assert len(notes) == lacking
    assert json.loads(fid_report([measured], protocol(DRAWING), notes).to_json())["notes"] == notes
