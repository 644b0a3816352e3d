"""What a finished training leaves, and what can be read of it."""

import hashlib
import json
from pathlib import Path

from bar_model import checkpoint
from pipeline.execution.manifest import Inputs, Manifest
from pipeline.storage import Folder
from pipeline.training.output import (
    GENERATOR_STAGE,
    MODEL_FILES,
    RESULTS,
    TOKENIZER_STAGE,
    Trained,
    read_trained,
    save_model,
    trained_with,
    write_file,
)
from tests.harness.tiny import make_bar, tiny_config


def test_a_model_is_saved_below_the_folder_with_an_entry_for_each_file(tmp_path: Path) -> None:
    bar = make_bar(tiny_config())
    entries = save_model(bar, Folder(str(tmp_path)))
    assert [entry.name for entry in entries] == [f"model/{name}" for name in MODEL_FILES]
    for entry in entries:
        data = (tmp_path / entry.name).read_bytes()
        assert (entry.bytes, entry.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert checkpoint.fingerprint_of(tmp_path / "model") == checkpoint.fingerprint(bar)
    save_model(bar, Folder(str(tmp_path / "alone")), below="")
    assert checkpoint.fingerprint_of(tmp_path / "alone") == checkpoint.fingerprint(bar)


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    out = Folder(str(tmp_path))
    write_file(out, RESULTS, json.dumps({"fingerprint": "f" * 16, "metrics": {"train/loss": 0.5}}).encode())
    assert read_trained(out) == Trained(str(tmp_path / "model"), "f" * 16, {"train/loss": 0.5})


def test_a_generator_beside_its_manifest_names_its_tokenizer(tmp_path: Path) -> None:
    def finished(name: str, stage: str) -> str:
        manifest = Manifest(
            stage=stage, generation=1, configuration={"tokenizer": "t" * 16}, inputs=Inputs(1, "i"), files=()
        )
        manifest.commit(Folder(str(tmp_path / name)))
        return str(tmp_path / name / "model")

    assert trained_with(finished("generator", GENERATOR_STAGE)) == "t" * 16
    assert trained_with(finished("tokenizer", TOKENIZER_STAGE)) is None
    assert trained_with(str(tmp_path / "generator" / "copied")) is None
    assert trained_with(str(tmp_path / "nothing" / "model")) is None
