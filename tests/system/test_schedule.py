"""The nightly command of infra/, as it stands there, over a bucket that grows in between."""

import io
import os
import shlex
import subprocess
import sys
from pathlib import Path

import boto3
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from bar_model import checkpoint, presets
from bar_model.tokenizer.tokenizer import Tokenizer
from pipeline.codes.folder import read_codes, verify
from pipeline.execution.manifest import Manifest
from pipeline.storage import Folder

pytest_plugins = ["tests.harness.fixtures_s3", "tests.harness.fixtures_ray"]

ROOT = Path(__file__).parents[2]


def nightly() -> list[str]:
    document = yaml.safe_load((ROOT / "infra" / "raycronjob.yaml").read_text())
    return shlex.split(document["spec"]["jobTemplate"]["entrypoint"])


def picture(seed: int) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


@pytest.mark.ray
@pytest.mark.slow
def test_every_night_encodes_what_the_day_brought(tmp_path: Path, ray_here: str, s3_server: str) -> None:
    boto3.client("s3", endpoint_url=s3_server).create_bucket(Bucket="bucket")
    torch.manual_seed(0)
    checkpoint.save(Tokenizer(presets.TOKENIZERS["digits"]()), tmp_path / "tokenizer")
    for file in (tmp_path / "tokenizer").iterdir():
        Folder("s3://bucket/tokenizer").write(file.name, file.read_bytes())
    images, codes = Folder("s3://bucket/imagenet/train"), "s3://bucket/codes"
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "RAY_ADDRESS": ray_here, "PYTHONPATH": paths, "HOME": str(tmp_path)}
    environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{tmp_path / 'mlflow.db'}"
    python, script, *arguments = nightly()
    assert python == "python"

    def night() -> str:
        done = subprocess.run(
            [sys.executable, ROOT / script, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    keys = [f"n{number % 3}/{number}.JPEG" for number in range(6)]
    for day, some in enumerate((keys[:4], keys[4:]), start=1):
        for number, key in enumerate(some):
            images.write(key, picture(number))
        assert f"codes of {4 if day == 1 else 6} images" in night()
        assert Manifest.read(Folder(codes)).generation == day
    assert sorted(read_codes(codes).keys) == sorted(keys)
    assert verify(codes) == []

    before = [(entry.name, entry.version) for entry in Folder(codes).list()]
    assert "nothing to do, all 6 images are done" in night()
    assert [(entry.name, entry.version) for entry in Folder(codes).list()] == before

    import mlflow

    client = mlflow.MlflowClient(environment["MLFLOW_TRACKING_URI"])
    (run,) = client.search_runs([each.experiment_id for each in client.search_experiments()])
    assert run.info.status == "FINISHED"
    assert run.data.tags["output.codes.fingerprint"] == Manifest.read(Folder(codes)).fingerprint
