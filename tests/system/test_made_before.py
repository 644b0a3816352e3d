"""Folders that older code made are taken up where they are: their formats, names and digests are those of today.

`tests/made_before/` says which code made them, and by which commands. Here, too, they are only used by command lines.
"""

import hashlib
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
import torch

from pipeline.codes.shard import decode_shard, encode_shard
from pipeline.execution.manifest import Manifest
from pipeline.images.read import DIGEST_BYTES
from pipeline.presets.sampling import SAMPLING
from pipeline.presets.tokenizer_training import TOKENIZER_TRAINING
from pipeline.presets.tokenizing import TOKENIZING
from pipeline.presets.training import TRAINING
from tests.harness.repository import REPOSITORY

if TYPE_CHECKING:
    from botocore.client import BaseClient

pytest_plugins = ["tests.harness.fixtures_s3", "tests.harness.fixtures_ray"]
pytestmark = [pytest.mark.ray, pytest.mark.system, pytest.mark.timeout(300)]

KEPT = REPOSITORY / "tests" / "made_before"
BUCKET = "made-before"
EXPECTED: dict[str, Any] = json.loads((KEPT / "expected.json").read_text())
"""What the older code made of the same folders."""

TRAIN_TOKENIZER = """
    train_tokenizer --source s3://made-before/pictures --out s3://made-before/tokenizer --steps 3 --batch 4
    --model.encoder.width 8 --model.encoder.heads 2 --model.encoder.mlp-width 16
    --model.decoder.width 8 --model.decoder.heads 2 --model.decoder.depth 1
"""
TOKENIZE = """
    tokenize_images --source s3://made-before/pictures --tokenizer s3://made-before/tokenizer/model
    --out s3://made-before/codes --unit-size 8 --batch-size 8 --max-bad 0.1 --device cpu --workers 1
"""
TOKENIZE_GROWN = """
    tokenize_images --source s3://made-before/growing --tokenizer s3://made-before/tokenizer/model
    --out s3://made-before/grown --unit-size 4 --batch-size 4 --max-bad 0.2 --device cpu --workers 1
"""
TRAIN = """
    train --codes s3://made-before/codes --held-out s3://made-before/codes --out s3://made-before/generator
    --tokenizer s3://made-before/tokenizer/model --steps 8 --batch 4
    --model.transformer.width 8 --model.transformer.depth 1 --model.transformer.heads 2
    --model.head.width 8 --model.head.depth 1
    --cadence.log-every 1 --cadence.validate-every 2 --cadence.checkpoint-every 2
"""
SAMPLE = """
    sample_images --generator s3://made-before/quickstart/generator/model
    --tokenizer s3://made-before/quickstart/tokenizer/model --out s3://made-before/samples
    --num-images 12 --unit-size 4 --batch-size 4 --npz --device cpu --workers 1
"""
QUICKSTART_STAGES = 7

Job = Callable[[str], str]


class Bucket:
    """The objects of the fixed bucket, whose name is part of what the folders were configured with."""

    def __init__(self, client: "BaseClient") -> None:
        self._client: Any = client

    def put(self, folder: Path) -> None:
        """All files below a folder, unchanged, by their names there."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                key = path.relative_to(folder).as_posix()
                self._client.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())

    def read(self, key: str) -> bytes:
        return self._client.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def json(self, key: str) -> Any:
        return json.loads(self.read(key))

    def versions(self, prefix: str) -> dict[str, str]:
        """The ETag of every object of a folder, and when it was written."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        found = [each for page in pages for each in page.get("Contents", [])]
        return {each["Key"]: f"{each['ETag']} {each['LastModified']}" for each in found}


@pytest.fixture(scope="module")
def bucket(s3_server: str) -> Bucket:
    client = boto3.client("s3", endpoint_url=s3_server)
    client.create_bucket(Bucket=BUCKET)
    bucket = Bucket(client)
    bucket.put(KEPT / "bucket")
    return bucket


@pytest.fixture
def tracking(tmp_path: Path) -> list[str]:
    """Options for a tracker that knows nothing of these folders."""
    return ["--tracking.uri", f"sqlite:///{tmp_path / 'mlflow.db'}", "--tracking.spool", str(tmp_path / "spool")]


@pytest.fixture
def job(ray_here: str, tracking: list[str]) -> Job:
    """Carries out a command line of a job; what it printed."""

    def carry_out(line: str) -> str:
        name, *options = line.split()
        command = [sys.executable, f"jobs/{name}.py", "digits", *options, "--cluster.address", ray_here, *tracking]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return carry_out


def has_same_arithmetic() -> bool:
    """Whether sums are rounded, and files written, as where the folders were made; else digests may be others."""
    made_with = dict(EXPECTED["made_with"])
    cpu = made_with.pop("cpu")
    return torch.backends.cpu.get_cpu_capability() == cpu and all(version(name) == it for name, it in made_with.items())


def check_same(found: Mapping[str, str], expected: Mapping[str, str]) -> None:
    """Digests of what floating point made."""
    if has_same_arithmetic():
        assert found == expected


def written(bucket: Bucket, prefix: str, before: Mapping[str, str]) -> set[str]:
    """Names below a folder of what is new or changed; nothing may be gone."""
    now = bucket.versions(prefix)
    assert now.keys() >= before.keys()
    return {key.removeprefix(prefix) for key in now if now[key] != before.get(key)}


@pytest.mark.parametrize(
    ("line", "folder"), [(TRAIN_TOKENIZER, "tokenizer/"), (TOKENIZE, "codes/")], ids=["training", "codes"]
)
def test_what_is_finished_stays_untouched(line: str, folder: str, bucket: Bucket, job: Job) -> None:
    before = bucket.versions(folder)
    assert "nothing to do" in job(line)
    assert written(bucket, folder, before) == set()


def test_a_stopped_training_goes_on_and_ends_with_the_same_model(bucket: Bucket, job: Job, tracking: list[str]) -> None:
    from mlflow import MlflowClient

    before = bucket.versions("generator/")
    assert "generator/manifest-000001.json" not in before
    assert "going on after step 4\n" in job(TRAIN)
    results = bucket.json("generator/results.json")
    for name, loss in EXPECTED["generator"]["losses"].items():
        assert results["metrics"][name] == pytest.approx(loss, rel=1e-4)
    check_same({"fingerprint": results["fingerprint"]}, {"fingerprint": EXPECTED["generator"]["fingerprint"]})

    # Its run goes on as well, by the key that was kept beside the checkpoints.
    client = MlflowClient(tracking[1])
    (run,) = client.search_runs([each.experiment_id for each in client.search_experiments()])
    kept = json.loads((KEPT / "bucket" / "generator" / "tracking.json").read_text())
    assert run.data.tags["bar.key"] == bucket.json("generator/tracking.json")["run"] == kept["run"]
    assert sorted(point.step for point in client.get_metric_history(run.info.run_id, "train/loss")) == [5, 6, 7, 8]


@pytest.mark.slow
def test_codes_of_a_source_that_has_grown_get_a_second_generation(bucket: Bucket, job: Job) -> None:
    before = bucket.versions("grown/")
    first = bucket.json("grown/manifest-000001.json")
    bucket.put(KEPT / "added")
    assert "codes of 8 images in 3 shards, 1 images quarantined" in job(TOKENIZE_GROWN)

    second = bucket.json("grown/manifest-000002.json")
    assert second["generation"] == 2
    assert second["files"][:-1] == first["files"]
    assert second["files"][-1]["rows"] == 2
    assert second["quarantine"]["rows"] == first["quarantine"]["rows"] == 1
    new = written(bucket, "grown/", before)
    assert not new & {file["name"] for file in (*first["files"], first["quarantine"])}
    assert len([name for name in new if name.startswith("codes-")]) == 1
    check_same({"manifest": without_contents(bucket, second).fingerprint}, EXPECTED["grown"])


def without_contents(bucket: Bucket, document: dict[str, Any]) -> Manifest:
    """A manifest of codes as the older code would have made it: its last shard keeps no digests."""
    manifest = Manifest.decode(json.dumps(document).encode(), "the manifest")
    entry = manifest.files[-1]
    shard = decode_shard(bucket.read(f"grown/{entry.name}"), entry.name)
    assert len(shard.contents) == DIGEST_BYTES * 2
    data = encode_shard(shard._replace(contents=b""))
    older = entry._replace(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    return replace(manifest, files=(*manifest.files[:-1], older))


def test_a_killed_drawing_makes_the_missing_shard_alone(bucket: Bucket, job: Job) -> None:
    before = bucket.versions("samples/")
    shards = {name for name in before if name.startswith("samples/samples-")}
    assert len(shards) == 2
    assert "12 images" in job(SAMPLE)

    manifest = bucket.json("samples/manifest-000001.json")
    missing = {f"samples/{file['name']}" for file in manifest["files"]} - shards
    assert len(missing) == 1
    new = {f"samples/{name}" for name in written(bucket, "samples/", before)}
    assert new == missing | {"samples/manifest-000001.json", "samples/samples.npz", "samples/tracking.json"}
    npz = hashlib.sha256(bucket.read("samples/samples.npz")).hexdigest()
    check_same({"manifest": manifest["fingerprint"], "npz": npz}, EXPECTED["samples"])


@pytest.mark.slow
def test_a_second_walk_of_the_quickstart_repeats_no_stage(
    bucket: Bucket,
    ray_here: str,
    tracking: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The job itself, in this process, where the presets of its stages can be small: it has no options for them."""
    for table, preset in tiny_presets():
        monkeypatch.setitem(table, "digits", lambda preset=preset: preset)
    before = bucket.versions("quickstart/")
    command = ["jobs/quickstart.py", "digits", "--out", "s3://made-before/quickstart", *tracking]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(REPOSITORY / command[0]), run_name="__main__")
    told = capfd.readouterr()
    assert ended.value.code in (None, 0), told.err
    assert told.out.count("(finished before)") == QUICKSTART_STAGES
    assert told.out.count("nothing to do") == QUICKSTART_STAGES

    # The pictures are not kept with the tests: they are written anew, the same to the last byte.
    new = written(bucket, "quickstart/", before)
    assert {name for name in new if not name.startswith("digits/")} == {"tracking.json"}
    note = bucket.json("quickstart/tracking.json")
    assert {name: note["metrics"][name] for name in EXPECTED["quickstart"]} == EXPECTED["quickstart"]


def tiny_presets() -> list[tuple[dict[str, Any], Any]]:
    """What the stages of the quickstart were configured with; two bits a token, so that the report's page is small."""
    train, train_tokenizer = TRAINING["digits"](), TOKENIZER_TRAINING["digits"]()
    generator, tokenizer = train.model, train_tokenizer.model
    tiny_generator = replace(
        generator,
        codes=replace(generator.codes, bits=2),
        sampling=replace(generator.sampling, allocation=(1, 1)),
        transformer=replace(generator.transformer, width=8, depth=1, heads=2),
        head=replace(generator.head, width=8, depth=1),
    )
    tiny_tokenizer = replace(
        tokenizer,
        bits=2,
        encoder=replace(tokenizer.encoder, width=8, heads=2, mlp_width=16),
        decoder=replace(tokenizer.decoder, width=8, heads=2, depth=1),
    )
    sample = SAMPLING["digits"]()
    return [
        (TRAINING, replace(train, model=tiny_generator, steps=3, batch=8)),
        (TOKENIZER_TRAINING, replace(train_tokenizer, model=tiny_tokenizer, steps=3, batch=8)),
        (TOKENIZING, replace(TOKENIZING["digits"](), unit_size=2000, device="cpu")),
        (SAMPLING, replace(sample, num_images=300, unit_size=300, images="none", device="cpu")),
    ]
