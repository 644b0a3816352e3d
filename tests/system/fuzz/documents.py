"""Documents of text: plans, manifests, claims, summaries, reports, maps of classes, lists of labels, configurations."""

import contextlib
import hashlib
import io
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import numpy as np

from pipeline.command.options import parse_preset
from pipeline.evaluation.compare import CompareConfig, compare_reports
from pipeline.execution.manifest import Manifest, claimed_configuration, open_stage
from pipeline.images.class_map import read_classes
from pipeline.presets.tokenizing import TOKENIZING
from pipeline.presets.training import TRAINING
from pipeline.reports.report import REPORT
from pipeline.samples.encoding import Keeping
from pipeline.samples.labels import make_schedule
from pipeline.storage import Folder
from pipeline.tracking.lineage import SUMMARY_FILE, Input, RunSummary, find_summary, trace
from pipeline.training.output import RESULTS, read_trained
from tests.harness.reports import report
from tests.system.fuzz.damage import as_json, bytes_damaged, document_damaged, json_damaged, text_damaged
from tests.system.fuzz.door import Damage, Door, MakeDoor, demand, of_several
from tests.system.fuzz.shards import (
    enter_codes,
    enter_features,
    enter_plans,
    enter_samples,
    small_samples,
    write_plan,
    write_small_codes,
    write_small_features,
)
from tests.system.fuzz.structures import npy_damaged

_JSON = of_several(text_damaged, bytes_damaged, json_damaged, json_damaged, json_damaged)


def manifest_damaged(chance: Random, original: bytes, originals: Sequence[bytes]) -> bytes:
    """A manifest with other values and the fingerprint of those, as the one who wrote it could."""
    document = document_damaged(chance, json.loads(original))
    if isinstance(document, dict):
        said = {name: each for name, each in document.items() if name not in ("format", "fingerprint")}
        canonical = json.dumps(said, sort_keys=True, separators=(",", ":"))
        document["fingerprint"] = hashlib.sha256(canonical.encode()).hexdigest()[:16]
    return as_json(document)


def _manifest(write: Callable[[str], Manifest], enter: Callable[[str, bool], int]) -> MakeDoor:
    """The manifest of a finished folder, and all that is read by it."""

    def make(place: Path) -> Door:
        url = str(place / "folder")
        path = Path(url, write(url).name)

        def enter_damaged(data: bytes, original: bytes) -> int:
            path.write_bytes(data)
            return enter(url, data == original)

        ways = of_several(
            text_damaged, bytes_damaged, json_damaged, manifest_damaged, manifest_damaged, manifest_damaged
        )
        return Door([path.read_bytes()], ways, enter_damaged)

    return make


def _file(name: str, originals: Sequence[bytes], enter: Callable[[Path], int], damage: Damage = _JSON) -> MakeDoor:
    """A single file."""

    def make(place: Path) -> Door:
        def enter_damaged(data: bytes, original: bytes) -> int:
            (place / name).write_bytes(data)
            return enter(place / name)

        return Door(originals, damage, enter_damaged)

    return make


def _plans(place: Path) -> Door:
    """The JSON of a plan; its tables are sound."""
    folder = Folder(str(place / "folder"))
    plan = write_plan(folder)

    def enter(data: bytes, original: bytes) -> int:
        folder.write(plan.name, data)
        return enter_plans(folder)

    return Door([plan.encode()], _JSON, enter)


_CLAIM = {"codes": {"bits": 3, "views": ["crop"]}, "source": {"kind": "tar", "classes": None}, "unit_size": 3}


def _enter_claim(path: Path) -> int:
    folder = Folder(str(path.parent))
    open_stage(folder, "tokenize", _CLAIM)
    return len(claimed_configuration(folder, "tokenize") or {})


def _claim() -> bytes:
    return (json.dumps({"format": 2, "stage": "tokenize", "configuration": _CLAIM}, indent=1) + "\n").encode()


def _enter_summary(path: Path) -> int:
    """A summary that can't be read is none, as reports go on without; a run adds to it, or says what is wrong."""
    url = str(path.parent)
    before = path.read_bytes()
    found = find_summary(url)
    origin = trace(Input("codes", url, "f" * 16))
    if found is not None:
        demand(all(len(each) == 3 for each in found.inputs), "inputs")
    if path.read_bytes() == before:
        RunSummary(run="r", metrics={"images_per_s": 1.0}).save(Folder(url))
        finite = {name: value for name, value in (found.metrics if found else {}).items() if math.isfinite(value)}
        demand(RunSummary.read(Folder(url)).metrics.items() >= finite.items(), "metrics are gone")
    return len(origin.origins or ())


def _summary(url: str = "/nowhere/images") -> bytes:
    tags = {"output.codes.fingerprint": "f" * 16, "hardware": "1 CPU"}
    inputs = [["images", url, "e" * 16], ["tokenizer", "tokenizer.bin", "d" * 16]]
    return json.dumps({"run": "k", "inputs": inputs, "metrics": {"loss": 0.5}, "tags": tags}, indent=1).encode()


def _enter_report(path: Path) -> int:
    compare_reports(CompareConfig(reports=(str(path.parent),)))
    return 1


def _enter_classes(path: Path) -> int:
    classes = read_classes(str(path))
    pairs: list[tuple[str, object]] = []
    json.loads(path.read_bytes(), object_pairs_hook=lambda found: pairs.extend(found))
    demand(len(classes) == len(pairs), f"{len(classes)} of {len(pairs)} classes")
    return len(classes)


def _labels(ending: str) -> MakeDoor:
    """A file of labels to be drawn, of one of the three kinds."""
    array = io.BytesIO()
    np.save(array, np.array([3, 1, 2], np.int64))
    originals = {".json": [b"[3, 1, 2]", b'["1", 2]'], ".txt": [b"3\n1\n2\n", b"4\r\n0"], ".npy": [array.getvalue()]}
    ways = {
        ".json": _JSON,
        ".txt": of_several(text_damaged, bytes_damaged),
        ".npy": of_several(bytes_damaged, npy_damaged),
    }

    def enter(path: Path) -> int:
        return len(make_schedule(None, str(path), 5).values)

    return _file(f"labels{ending}", originals[ending], enter, ways[ending])


_TOKENIZING = b"""views: [crop, flip]
unit_size: 64  # images of a shard
max_bad: 1e-2
num_classes: 1e3
classes: null
cluster:
  address: null
tracking:
  uri: ???
"""
_NEEDED_TO_TOKENIZE = ("--source", "s", "--tokenizer", "t", "--out", "o")
_TRAINING = b"""steps: 100
batch: 8
precision: float32
optimization:
  learning_rate: 1e-3
  betas: [0.9, 0.95]
cadence: {validate_every: 5, checkpoint_every: 10}
workers:
  num: 1
"""


def _configuration(presets: dict, preset: str, options: Sequence[str], original: bytes) -> MakeDoor:
    """A file that `--config` names."""

    def enter(path: Path) -> int:
        given = [preset, "--config", str(path), *options]
        with contextlib.redirect_stdout(io.StringIO()):
            parse_preset(presets, given, program="job", about="A job.")
        return 1

    return _file("config.yaml", [original], enter, of_several(text_damaged, text_damaged, bytes_damaged))


def _enter_results(path: Path) -> int:
    return len(read_trained(Folder(str(path.parent))).metrics)


DOCUMENTS: dict[str, MakeDoor] = {
    "plans": _plans,
    "manifests of codes": _manifest(write_small_codes, enter_codes),
    "manifests of features": _manifest(write_small_features, enter_features),
    "manifests of samples": _manifest(small_samples(Keeping()), enter_samples),
    "claims": _file("stage.json", [_claim()], _enter_claim),
    "summaries": _file(SUMMARY_FILE, [_summary()], _enter_summary),
    "results of trainings": _file(RESULTS, [b'{"fingerprint": "f", "metrics": {"loss": 0.5}}'], _enter_results),
    "reports": _file(REPORT, [report(3.0).to_json(), report(2.0, 3.0).to_json()], _enter_report),
    "class maps": _file("classes.json", [b'{"n01": 0, "n02": 1, "caf\xc3\xa9": 2}'], _enter_classes),
    **{f"labels in {ending}": _labels(ending) for ending in (".json", ".txt", ".npy")},
    "configurations to tokenize": _configuration(TOKENIZING, next(iter(TOKENIZING)), _NEEDED_TO_TOKENIZE, _TOKENIZING),
    "configurations to train": _configuration(TRAINING, "digits", ("--out", "o", "--codes", "c"), _TRAINING),
}
