"""Judging digits: figures of samples whose quality is known, and the report that holds them."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from bar_model import checkpoint
from bar_model.bits import CodeShape
from bar_model.configuration import plain
from bar_model.errors import BadInput
from bar_model.generator.sampling import Sampling
from bar_model.presets import digits_tokenizer
from bar_model.tokenizer.tokenizer import Tokenizer
from pipeline.digits.evaluate_digits import EvaluateDigitsConfig, evaluate_digits
from pipeline.digits.protocol import DIGITS_FIGURES, DigitsProtocol, Evidence, LabelledImages, digits_report, panels
from pipeline.digits.reader import DigitsReader, features_8x8
from pipeline.execution.stage import publish
from pipeline.execution.unit import Unit, finish_unit
from pipeline.images.codec import to_png
from pipeline.reports.panel import Panel, draw_page, draw_panel
from pipeline.reports.report import Figure, Goal, Report, Result, results_table
from pipeline.samples.encoding import Keeping
from pipeline.samples.folder import STAGE
from pipeline.samples.sample import drawing_work
from pipeline.samples.shard import Drawing, Samples
from pipeline.storage import Folder

pytestmark = pytest.mark.long

RNG = np.random.default_rng(0)


def enlarged(scans: np.ndarray) -> np.ndarray:
    """scikit-learn's 8×8 scans, 0 … 16, as pictures of 32 px."""
    pixels = (scans.reshape(-1, 8, 8) * (255 / 16)).round().astype(np.uint8)
    return np.repeat(pixels.repeat(4, axis=1).repeat(4, axis=2)[..., None], 3, axis=3)


@pytest.fixture(scope="module")
def digits() -> LabelledImages:
    from sklearn.datasets import load_digits

    scans, labels = map(np.asarray, load_digits(return_X_y=True))
    order = np.random.default_rng(0).permutation(len(scans))
    return LabelledImages(enlarged(scans[order]), labels[order].astype(np.int32))


def some(pictures: LabelledImages, start: int, stop: int) -> LabelledImages:
    return LabelledImages(pictures.images[start:stop], pictures.labels[start:stop])


def as_samples(pictures: LabelledImages) -> Samples:
    num = len(pictures.images)
    return Samples(np.arange(num), pictures.labels, pictures.images, np.zeros((num, 2), np.uint8))


@pytest.fixture
def evidence(digits: LabelledImages) -> Evidence:
    """Samples that are as good as can be: real scans that nobody else has seen."""
    held_out = some(digits, 1000, 1200)
    return Evidence(
        train=some(digits, 0, 1000),
        held_out=held_out,
        reconstructions=held_out.images,
        guided=as_samples(some(digits, 1200, 1500)),
        unguided=as_samples(some(digits, 1500, 1797)),
    )


@pytest.fixture
def protocol(evidence: Evidence) -> DigitsProtocol:
    guided = Drawing(
        generator="g",
        tokenizer="t",
        codes=CodeShape(grid=4, bits=16),
        image_size=32,
        seed=0,
        labels="cyclic, 0 to 9",
        sampling=Sampling(guidance_scale=2.0, temperature=1.0, allocation=(16,)),
        batch_size=100,
        precision="float32",
        device="cpu",
    )
    unguided = replace(guided, sampling=replace(guided.sampling, guidance_scale=1.0))
    return DigitsProtocol.of(evidence, guided, unguided)


def values(report: Report) -> dict[str, float]:
    return {figure.name: value for figure, value in report.results}


def test_features_are_the_scans_themselves() -> None:
    scans = RNG.integers(0, 17, (5, 64))
    np.testing.assert_allclose(features_8x8(enlarged(scans)), scans, atol=16 / 255 / 2)
    with pytest.raises(BadInput, match="do not divide"):
        features_8x8(np.zeros((1, 30, 30, 3), np.uint8))


def test_the_reader_reads_scans_that_it_has_not_seen(digits: LabelledImages) -> None:
    features = features_8x8(digits.images)
    reader = DigitsReader(features[:1400], digits.labels[:1400])
    assert reader.accuracy(features[1400:], digits.labels[1400:]) >= 0.98
    assert reader.accuracy(features[1400:], (digits.labels[1400:] + 1) % 10) < 0.02


def test_unseen_scans_as_samples_reach_every_goal(evidence: Evidence, protocol: DigitsProtocol) -> None:
    report = digits_report(evidence, protocol)
    assert report.are_goals_met, results_shown(report)
    assert report.notes == ()
    assert values(report)["reconstruction_psnr"] == np.inf
    assert values(report)["frechet_ratio"] == pytest.approx(1, abs=0.5)


def test_copies_of_training_scans_are_found(evidence: Evidence, protocol: DigitsProtocol) -> None:
    copies = as_samples(some(evidence.train, 0, 300))
    found = values(digits_report(evidence._replace(guided=copies), protocol))
    assert found["copies"] == 1
    assert found["class_accuracy_guided"] == 1


def test_samples_without_variety_are_found(evidence: Evidence, protocol: DigitsProtocol) -> None:
    """The same ten digits again and again, well legible, and no copies of the training scans."""
    first = [int(np.flatnonzero(evidence.guided.labels == label)[0]) for label in range(10)]
    rows = np.tile(first, 30)
    same = Samples(np.arange(300), evidence.guided.labels[rows], evidence.guided.images[rows], evidence.guided.codes)
    report = digits_report(evidence._replace(guided=same), protocol)
    missed = [figure.name for figure, value in report.results if Result(figure, value).is_met is False]
    assert "frechet_ratio" in missed
    assert "class_accuracy_guided" not in missed


def test_noise_is_no_digit(evidence: Evidence, protocol: DigitsProtocol) -> None:
    noise = evidence.guided._replace(images=RNG.integers(0, 256, evidence.guided.images.shape, dtype=np.uint8))
    found = values(digits_report(evidence._replace(guided=noise, unguided=noise), protocol))
    assert found["class_accuracy_guided"] < 0.3
    assert found["frechet_ratio"] > 20


def test_a_reader_that_is_not_good_enough_says_so(evidence: Evidence, protocol: DigitsProtocol) -> None:
    labels = evidence.held_out.labels.copy()
    labels[:20] = (labels[:20] + 1) % 10
    broken = evidence._replace(held_out=evidence.held_out._replace(labels=labels, broken=("a.png is empty",)))
    report = digits_report(broken, protocol)
    assert not report.are_goals_met
    assert any("not good enough to be believed: it reads only 8" in note for note in report.notes)
    assert any("1 of the held-out pictures can't be used" in note for note in report.notes)


def test_too_few_samples_are_refused(evidence: Evidence, protocol: DigitsProtocol) -> None:
    few = Samples(*(column[:199] for column in evidence.guided))
    with pytest.raises(BadInput, match="199 samples: draw at least 200"):
        digits_report(evidence._replace(guided=few), protocol)


def test_a_report_survives_its_file_and_names_its_protocol(evidence: Evidence, protocol: DigitsProtocol) -> None:
    report = digits_report(evidence, protocol)
    document = json.loads(report.to_json())
    assert document["protocol"]["guided"]["sampling"]["guidance_scale"] == 2.0
    assert document["protocol"]["train"] == {"num": 1000, "fingerprint": protocol.train.fingerprint}
    assert list(document["results"]) == [figure.name for figure in DIGITS_FIGURES]
    read = Report.from_json(report.to_json())
    assert (read.results, read.notes) == (report.results, report.notes)
    assert read.to_json() == report.to_json()


def results_shown(report: Report) -> str:
    text = io.StringIO()
    Console(width=120, file=text).print(results_table("Results", report.results))
    return text.getvalue()


def test_the_table_says_what_is_reached() -> None:
    results = (
        Result(Figure("a", "Share", "%", Goal("at least", 0.95)), 0.987),
        Result(Figure("b", "Ratio", "×", Goal("at most", 4)), 4.5),
        Result(Figure("c", "PSNR", "dB"), 21.25),
    )
    lines = [
        " ".join(line.replace("│", " ").split())
        for line in results_shown(Report(protocol=None, results=results)).splitlines()
    ]
    assert "Share 98.7 % at least 95 % reached" in lines
    assert "Ratio 4.5 × at most 4 × missed" in lines
    assert "PSNR 21.25 dB" in lines


def test_pictures_show_what_they_say(evidence: Evidence, protocol: DigitsProtocol) -> None:
    shown = panels(evidence, protocol)
    with_guidance, without = shown["samples"].groups.values()
    assert with_guidance.shape == without.shape == (10, 8, 32, 32, 3)
    third = evidence.guided.images[evidence.guided.labels == 3]
    np.testing.assert_array_equal(with_guidance[3], third[:8])
    scans, reconstructions = shown["reconstructions"].groups[""]
    np.testing.assert_array_equal(scans, reconstructions)
    page = draw_page(list(shown.values()), scale=2)
    assert page.dtype == np.uint8
    assert page.shape[0] < page.shape[1] * 2


def test_a_panel_holds_every_pixel_where_it_belongs(tmp_path: Path) -> None:
    images = RNG.integers(0, 200, (2, 3, 8, 8, 3), dtype=np.uint8)
    picture = draw_panel(Panel("Title", ["a", "b"], {"left": images[:, :2], "right": images[:, 2:]}), scale=2)
    large = images.repeat(2, axis=2).repeat(2, axis=3)
    windows = np.lib.stride_tricks.sliding_window_view(picture, (16, 16, 3))[:, :, 0]
    places = [np.argwhere((windows == image).all(axis=(2, 3, 4))) for image in large.reshape(6, 16, 16, 3)]
    assert all(len(found) == 1 for found in places)
    tops, lefts = np.concatenate(places).reshape(2, 3, 2).transpose(2, 0, 1)
    assert (tops[0] == tops[0, 0]).all()
    assert (np.diff(lefts, axis=1) >= 16).all()
    assert tops[1, 0] - tops[0, 0] == 18
    Image.fromarray(picture).save(tmp_path / "panel.png")


# The stage, on folders as the other stages leave them.


def save_samples(url: str, samples: Samples, drawing: Drawing) -> None:
    """A folder of samples as the sampling stage leaves it."""
    work = drawing_work(drawing, Keeping(), build=lambda: lambda row: row)
    unit = Unit(index=0, size=len(samples.images), payload=[0, len(samples.images)])
    receipt = finish_unit(Folder(url), work, unit, samples._asdict())
    publish(Folder(url), STAGE, [unit], [receipt], configuration={"drawing": plain(drawing)})


@pytest.fixture
def config(evidence: Evidence, protocol: DigitsProtocol, tmp_path: Path) -> EvaluateDigitsConfig:
    tokenizer = Tokenizer(digits_tokenizer()).eval()
    checkpoint.save(tokenizer, tmp_path / "tokenizer")
    fingerprint = checkpoint.fingerprint(tokenizer)
    for name, samples, drawing in (
        ("guided", evidence.guided, protocol.guided),
        ("unguided", evidence.unguided, protocol.unguided),
    ):
        save_samples(str(tmp_path / name), samples, replace(drawing, tokenizer=fingerprint))
    for split, pictures in (("train", evidence.train), ("test", evidence.held_out)):
        for index, (image, label) in enumerate(zip(pictures.images, pictures.labels, strict=True)):
            Folder(str(tmp_path / split)).write(f"{label}/{index:04d}.png", to_png(image))
    return EvaluateDigitsConfig(
        samples=str(tmp_path / "guided"),
        unguided_samples=str(tmp_path / "unguided"),
        tokenizer=str(tmp_path / "tokenizer"),
        train=str(tmp_path / "train"),
        held_out=str(tmp_path / "test"),
        out=str(tmp_path / "report"),
    )


def test_an_evaluation_is_done_once(config: EvaluateDigitsConfig, capsys: pytest.CaptureFixture[str]) -> None:
    report = evaluate_digits(config)
    assert values(report)["class_accuracy_guided"] >= 0.95
    assert values(report)["reconstruction_accuracy"] < 0.5  # The tokenizer is untrained.
    assert not report.are_goals_met
    written = {path.name: path.read_bytes() for path in Path(config.out).iterdir()}
    assert "nothing to do" not in capsys.readouterr().out
    assert evaluate_digits(config).results == report.results
    assert "nothing to do" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in Path(config.out).iterdir()} == written
    assert Report.from_json(written["report.json"]).results == report.results
    with Image.open(Path(config.out, "report.png")) as picture:
        assert picture.width > 500


def test_a_broken_picture_is_left_out_and_counted(config: EvaluateDigitsConfig) -> None:
    Path(config.train, "3", "broken.png").write_bytes(b"no picture")
    (note,) = evaluate_digits(config).notes
    assert "1 of the training pictures can't be used" in note
    assert "3/broken.png is none of" in note


def test_what_does_not_go_together_is_named(config: EvaluateDigitsConfig, tmp_path: Path) -> None:
    checkpoint.save(Tokenizer(digits_tokenizer()).eval(), tmp_path / "other")
    (tmp_path / "few" / "0").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    for change, message in [
        ({"unguided_samples": config.samples}, "was drawn with guidance: draw it with --guidance-scale 1"),
        ({"tokenizer": str(tmp_path / "other")}, "give the one that decoded them"),
        ({"held_out": str(tmp_path / "few")}, "hold other classes"),
        ({"held_out": str(tmp_path / "empty")}, "holds no class folders"),
        ({"samples": str(tmp_path / "none")}, "is not there"),
        ({"samples": config.train}, "holds no manifest"),
        ({"held_out": config.train}, "300 samples: draw at least 1000"),
    ]:
        with pytest.raises(BadInput, match=message):
            evaluate_digits(replace(config, **change))
        assert not Path(config.out).exists()
