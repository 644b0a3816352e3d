"""Every number that a job takes has a range: of each configuration, each field is tried with what it can't take."""

import dataclasses
import importlib
import math
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import tyro

from bar_model.errors import BadInput
from bar_model.ranges import Range, ranged_fields
from tests.harness.repository import REPOSITORY

JOBS = sorted(path.stem for path in (REPOSITORY / "jobs").glob("*.py") if path.stem != "__init__")
SENSELESS = {int: (-1, -(10**30), 10**30, 10**400, True), float: (math.nan, math.inf, -math.inf, -1.0, -1e-9)}


def presets() -> Iterator[Any]:
    """The configuration of every preset of every job, and of the jobs without presets."""
    for name in JOBS:
        module = importlib.import_module(f"jobs.{name}")
        tables = [
            each for each in vars(module).values() if isinstance(each, dict) and all(map(callable, each.values()))
        ]
        tables = [each for each in tables if each and all(isinstance(key, str) for key in each)]
        for table in tables:
            yield from (preset() for preset in table.values())
        if not tables:
            kind = get_type_hints(module.main)["config"]
            fields = dataclasses.fields(kind)
            needed = [each.name for each in fields if each.default is each.default_factory is dataclasses.MISSING]
            yield kind(**dict.fromkeys(needed, tyro.MISSING))


def parts(configuration: Any) -> Iterator[Any]:
    """A configuration and all that it consists of."""
    yield configuration
    for field in dataclasses.fields(configuration):
        if dataclasses.is_dataclass(value := getattr(configuration, field.name)):
            yield from parts(value)


CONFIGURATIONS = list({type(part): part for preset in presets() for part in parts(preset)}.values())
FIELDS = [(each, name) for each in CONFIGURATIONS for name in ranged_fields(type(each))]


def test_the_walk_reaches_every_job() -> None:
    names = {type(each).__name__ for each in CONFIGURATIONS}
    assert {"TrainConfig", "TrainTokenizerConfig", "SampleConfig", "EvaluateConfig", "InspectCodesConfig"} <= names
    assert {"OptimizationConfig", "Cadence", "ClusterConfig", "TransformerConfig", "SemanticConfig"} <= names
    assert len(JOBS) == 12
    assert len(FIELDS) > 90


@pytest.mark.parametrize(("configuration", "name"), FIELDS, ids=lambda each: str(getattr(each, "__class__", each)))
def test_no_number_is_taken_that_is_none_of_its_range(configuration: Any, name: str) -> None:
    ranges = ranged_fields(type(configuration))[name]
    assert all(each != Range() for each in ranges.values()), f"{name}: state a range in the field's type"
    for value in (each for kind in ranges for each in SENSELESS[kind]):
        present = getattr(configuration, name)
        given = (*present[:-1], value) if isinstance(present, tuple) else value
        with pytest.raises(BadInput, match=rf"^{name} .*must be ") as caught:
            dataclasses.replace(configuration, **{name: given})
        assert "\n" not in str(caught.value)


WRONG = [
    ("train", "", "the first argument is a preset: bar-b"),
    ("train", "digits", "missing: --out, --codes"),
    ("train", "digit --codes {in} --out {out}", "unknown preset 'digit' (did you mean digits?)"),
    ("train", "bar-b digits --codes {in} --out {out}", "unknown option 'digits'"),
    ("train", "digits --codes {in} --out {out} more", "unknown option 'more'"),
    ("train", "digits --codes", "--codes needs a value"),
    ("train", "digits --codes {in} {in} --out {out}", "unknown option '{in}'"),
    ("train", "digits --codes {nothing} --out {out}", "--codes: {nothing} is not there"),
    ("train", "digits --codes {in} --out {file}", "--out: {file} is a file: name a folder"),
    ("train", "digits --codes {in} --out {file}/below", "lies below {file}, which is a file"),
    ("train", "digits --codes {in} --out s3://", "--out: 's3://' names no folder"),
    ("train", "digits --codes {in} --out {out} --init {nothing}", "--init: {nothing} is not there"),
    ("train", "digits --codes {in} --out {out} --batch 1 --workers.num 2", "too small to be shared by 2 workers"),
    ("train", "digits --codes {in} --out {out} --precision fp16", "--precision can't be 'fp16'"),
    ("train", "digits --codes {in} --out {out} --resume oldest", "--resume can't be 'oldest'"),
    ("train", "digits --codes {in} --out {out} --dry-run yes", "unknown option 'yes'"),
    ("train", "digits --codes {in} --out {out} --steps -5", "--steps -5: must be at least 1"),
    ("train", "digits --codes {in} --out {out} --steps 1e3.5", "'1e3.5' is no whole number"),
    ("train", "digits --codes {in} --out {out} --optimization.betas 0.9", "--optimization.betas needs a value"),
    ("train", "digits --codes {in} --out {out} --optimization.betas 0.9 1.0", "must be at least 0 and below 1"),
    ("train", "digits --codes {in} --out {out} --optimization.schedule linear", "choose from cosine, constant"),
    ("train", "digits --codes {in} --out {out} --optimization.max-gradient-norm -1", "norm -1.0: must be at least 0"),
    ("train", "digits --codes {in} --out {out} --cadence.log-every -1", "--cadence.log-every -1: must be"),
    ("train", "digits --codes {in} --out {out} --schedule-steps 9999", "must not be above steps, 1800"),
    ("train", "digits --codes {in} --out {out} --Steps 5", "(did you mean --steps?)"),
    ("train", "digits --codes {in} --out {out} --config {nothing}", "--config {nothing} is not there"),
    ("train", "digits --codes {in} --out {out} --config {in}", "--config {in} can't be read"),
    ("train", "digits --codes {in} --out {out} --model.codes.bits 0", "--model.codes.bits 0: must be at least 1"),
    ("train", "digits --codes {in} --out {out} --cluster.address localhost", "can be at 'localhost'"),
    ("train", "digits --codes {in} --out {out} --cluster.num-gpus -1", "--cluster.num-gpus -1: must be at least 0"),
    ("train_tokenizer", "digits --source {in} --out {out} --loss.l1 nan", "--loss.l1 nan: must be a finite number"),
    ("train_tokenizer", "digits --source {in} --out {out} --memory-gb -1", "--memory-gb -1.0: must be at least 0"),
    ("sample_images", "imagenet", "missing: --generator, --tokenizer, --out"),
    ("sample_images", "digits {models} --num-images 0", "--num-images 0: must be at least 1"),
    ("sample_images", "digits {models} --labels", "labels: none are given"),
    ("sample_images", "digits {models} --labels 1 -1", "--labels 1 -1: must be at least 0"),
    ("sample_images", "digits {models} --labels 1 --labels-file {file}", "both are given; give only one of them"),
    ("sample_images", "digits {models} --guidance-scale nan", "--guidance-scale nan: must be a finite number"),
    ("sample_images", "digits {models} --temperature inf", "--temperature inf: must be a finite number"),
    ("sample_images", "digits {models} --workers 0", "--workers 0: must be at least 1"),
    ("sample_images", "digits {models} --batch-size 7", "must be a multiple of batch_size, 7"),
    ("sample_images", "digits {models} --images jpg", "--images can't be 'jpg'"),
    ("sample_images", "digits {models} --files --images none", "of which no files are made"),
    ("sample_images", "digits {models} --device gpu", "--device can't be 'gpu'"),
    ("sample_images", "digits {models} --first-index -1", "--first-index -1: must be at least 0"),
    ("tokenize_images", "digits --source {in} --tokenizer {in} --out {out} --views crop crop", "give each once"),
    ("tokenize_images", "digits --source {in} --tokenizer {in} --out {out} --max-bad 1", "below 1"),
    ("evaluate", "imagenet --samples --reference {in} --out {out}", "samples: none are given"),
    ("evaluate", "imagenet --samples {in} --reference {in} --out {out} --num-images 3", "must be at least 4"),
    ("export_model", "", "missing: RUN, --to"),
    ("export_model", "{in} --to {out}", "is no output folder of a training"),
    ("inspect_codes", "{in}", "holds no manifest"),
    ("inspect_codes", "{in} --decode a.png", "belong together"),
    ("compare_reports", "", "reports: none are given"),
    ("compare_reports", "{file}", "holds no report.json"),
    ("write_npz", "{in}", "holds no manifest"),
    ("sweep", "imagenet {models} --reference {in} --seed 0", "must not be chosen by a seed of final reports"),
    ("sweep", "imagenet {models} --reference {in} --allocations 2,x", "give numbers of bits"),
    ("sweep", "imagenet {models} --reference {in} --guidance-scales", "no more than 0 settings"),
    ("reproduce", "bar-b --weights {in} --reference {in} --out {out} --seeds 1 1", "seeds: 1 1; give at least one"),
    ("quickstart", "digits --seed -1", "--seed -1: must be at least 0"),
    ("quickstart", "digits --out {file}", "--out: {file} is a file"),
]


@pytest.mark.parametrize(("name", "words", "told"), WRONG, ids=[f"{name} {words}" for name, words, _ in WRONG])
def test_a_wrong_command_line_is_one_line_before_ray_starts(
    name: str,
    words: str,
    told: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")  # Whatever is not refused before is refused by this.
    (tmp_path / "in").mkdir()
    (tmp_path / "file").write_text("x")
    places = {key: str(tmp_path / key) for key in ("in", "file", "nothing", "out")}
    places["models"] = "--generator {in} --tokenizer {in} --out {out}".format(**places)
    monkeypatch.setattr("sys.argv", [f"jobs/{name}.py", *words.format(**places).split()])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(REPOSITORY / "jobs" / f"{name}.py"), run_name="__main__")
    out, err = capfd.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert told.format(**places) in err
    assert "no Ray cluster answers" not in err
    assert not (tmp_path / "out").exists()
