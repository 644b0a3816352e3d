"""What a finished training leaves in its output folder: the model, its files, and what was measured."""

import hashlib
import json
import tempfile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from bar_model import checkpoint
from pipeline.execution.manifest import FileEntry, Manifest
from pipeline.storage import Folder

GENERATOR_STAGE = "train"
TOKENIZER_STAGE = "train tokenizer"

MODEL = "model"
"""Folder of the finished model, below the output folder."""


MODEL_FILES = ("model.safetensors", "config.json")


def save_model(model: checkpoint.Model, out: Folder, *, below: str = MODEL) -> tuple[FileEntry, ...]:
    """On a disk as in an object store; its configuration last, without which it is no model."""
    with tempfile.TemporaryDirectory() as scratch:
        draft = Path(scratch) / MODEL
        checkpoint.save(model, draft)
        return tuple(
            write_file(out, str(PurePosixPath(below, name)), (draft / name).read_bytes()) for name in MODEL_FILES
        )


def write_file(out: Folder, name: str, data: bytes) -> FileEntry:
    out.write(name, data)
    return FileEntry(name, unit="", rows=0, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


RESULTS = "results.json"


class Trained(NamedTuple):
    """A finished training: where the model is, its fingerprint, and what was measured last."""

    model: str
    fingerprint: str
    metrics: dict[str, float]


def read_trained(out: Folder) -> Trained:
    results = json.loads(out.read(RESULTS))
    return Trained(out.path(MODEL), results["fingerprint"], results["metrics"])


def trained_with(generator: str) -> str | None:
    """Fingerprint of the tokenizer whose codes a generator learned; None where it doesn't lie where it was trained."""
    folder, _, name = Folder(generator).url.rpartition("/")
    manifest = Manifest.newest(Folder(folder)) if name == MODEL else None
    return manifest.configuration["tokenizer"] if manifest is not None and manifest.stage == GENERATOR_STAGE else None
