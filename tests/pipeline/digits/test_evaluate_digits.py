"""Judging digits: figures of samples whose quality is known, and the report that holds them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bar_model import checkpoint
from bar_model.configuration import plain
from bar_model.errors import BadInput
from bar_model.presets import digits_tokenizer
from bar_model.tokenizer.tokenizer import Tokenizer
from pipeline.digits.evaluate_digits import EvaluateDigitsConfig, evaluate_digits
from pipeline.digits.protocol import DigitsProtocol, Evidence
from pipeline.execution.stage import publish
from pipeline.execution.unit import Unit, finish_unit
from pipeline.images.codec import to_png
from pipeline.reports.report import Report
from pipeline.samples.encoding import Keeping
from pipeline.samples.folder import STAGE
from pipeline.samples.sample import drawing_work
from pipeline.samples.shard import Drawing, Samples
from pipeline.storage import Folder

pytestmark = pytest.mark.long

RNG = np.random.default_rng(0)


def values(report: Report) -> dict[str, float]:
    return {figure.name: value for figure, value in report.results}


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
