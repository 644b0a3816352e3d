"""What a finished training leaves in its output folder: the model, its files, and what was measured."""

import hashlib
import json
import tempfile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from bar_model import checkpoint
from bar_model.errors import interpreting
from pipeline.execution.manifest import FileEntry, Manifest
from pipeline.storage import Folder

GENERATOR_STAGE = "train"
TOKENIZER_STAGE = "train tokenizer"

MODEL = "model"
"""Name of the folder of the finished model, below the output folder."""
MODEL_FILES = ("model.safetensors", "config.json")
RESULTS = "results.json"
"""Name of the file of fingerprint and metrics, below the output folder."""


class Trained(NamedTuple):
    """A finished training: the path of the model, its fingerprint, and what was measured last."""

    model: str
    fingerprint: str
    metrics: dict[str, float]


def read_trained(out: Folder) -> Trained:
    """What a finished training left in its output folder.

    Raises:
        BadInput: its results are damaged.
    """
    data = out.read(RESULTS)
    with interpreting(f"{out.path(RESULTS)} is damaged", "restore it, or train again"):
        results = json.loads(data)
        metrics = {str(name): float(value) for name, value in results["metrics"].items()}
        return Trained(out.path(MODEL), str(results["fingerprint"]), metrics)


def trained_with(generator: str) -> str | None:
    """The fingerprint of the tokenizer whose codes a generator learned.

    None where the generator does not lie in the output folder of its training.
    """
    folder, _, name = Folder(generator).url.rpartition("/")
    manifest = Manifest.newest(Folder(folder)) if name == MODEL else None
    return manifest.configuration["tokenizer"] if manifest is not None and manifest.stage == GENERATOR_STAGE else None


def save_model(model: checkpoint.Model, out: Folder, *, below: str = MODEL) -> tuple[FileEntry, ...]:
    """Writes a model into the folder `below` the output folder, and returns an entry for each file.

    The configuration is written last: without it, a folder is no model. This holds on a disk as on an object store.
    """
    with tempfile.TemporaryDirectory() as scratch:
        draft = Path(scratch) / MODEL
        checkpoint.save(model, draft)
        return tuple(
            write_file(out, str(PurePosixPath(below, name)), (draft / name).read_bytes()) for name in MODEL_FILES
        )


def write_file(out: Folder, name: str, data: bytes) -> FileEntry:
    """Writes a file below the output folder, and returns its entry for the manifest."""
    out.write(name, data)
    return FileEntry(name, unit="", rows=0, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
