"""What a run leaves beside its output, and the way back through such notes."""

import shutil
from pathlib import Path

import pytest

from pipeline.storage import Folder
from pipeline.tracking.lineage import NOTE_FILE, Input, Note, Origin, trace


def leave(folder: Path, made: str, *inputs: Input) -> str:
    """A note as the tracker leaves it; the folder's URL."""
    note = Note(run="key")
    note.hear("metrics", {"values": {"images_per_s": 2.0}, "step": 1})
    note.hear("tags", {"values": {"output.thing": "somewhere", "output.thing.fingerprint": made}})
    for each in inputs:
        note.hear("input", {**each._asdict(), "time": 0})
    note.keep(Folder(str(folder)))
    return str(folder)


def test_the_way_back_goes_from_folder_to_folder(tmp_path: Path) -> None:
    images = Input("images", str(tmp_path / "images"), "i")
    codes = Input("codes", leave(tmp_path / "codes", "c", images), "c")
    leave(tmp_path / "generator", "g", codes)
    generator = Input("generator", str(tmp_path / "generator" / "model"), "g")  # Below the folder of its training.
    samples = Input("samples", leave(tmp_path / "samples", "s", generator), "s")
    end = Origin(codes, (Origin(images, None),))
    assert trace(samples) == Origin(samples, (Origin(generator, (end,)),))


def test_it_ends_where_something_else_lies_now(tmp_path: Path) -> None:
    codes = Input("codes", leave(tmp_path / "codes", "another"), "c")
    assert trace(codes) == Origin(codes, None)
    Path(tmp_path, "codes", NOTE_FILE).write_text("no note")
    assert trace(codes) == Origin(codes, None)
    shutil.rmtree(tmp_path / "codes")
    assert trace(codes) == Origin(codes, None)
    assert trace(Input("file", str(Path(__file__)), "f")).origins is None
    assert trace(Input("far", "nosuchprotocol://host/file", "f")).origins is None


def test_a_note_that_leads_to_itself_leads_nowhere(tmp_path: Path) -> None:
    itself = Input("model", str(tmp_path), "m")
    leave(tmp_path, "m", itself)
    assert trace(itself) == Origin(itself, (Origin(itself, None),))


def test_a_second_start_adds_to_the_note(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    leave(tmp_path, "m", Input("codes", "/codes", "c"))
    again = Note(run="key")
    again.hear("metrics", {"values": {"loss": 1.0}})
    again.keep(folder)
    kept = Note.read(folder)
    assert kept.metrics == {"images_per_s": 2.0, "loss": 1.0}
    assert (kept.run, kept.inputs, kept.made) == ("key", [Input("codes", "/codes", "c")], {"m"})
    with pytest.raises(FileNotFoundError):
        Note.read(folder / "elsewhere")
