"""The summary that a run leaves beside its output, and the way back through summaries."""

import shutil
from pathlib import Path

import pytest

from pipeline.storage import Folder
from pipeline.tracking.lineage import SUMMARY_FILE, DamagedSummary, Input, Origin, RunSummary, trace


def leave(folder: Path, made: str, *inputs: Input) -> str:
    """Leaves a summary as a run does, and returns the folder's URL."""
    summary = RunSummary(run="key")
    summary.record("metrics", {"values": {"images_per_s": 2.0}, "step": 1})
    summary.record("tags", {"values": {"output.thing": "somewhere", "output.thing.fingerprint": made}})
    for each in inputs:
        summary.record("input", {**each._asdict(), "time": 0})
    summary.save(Folder(str(folder)))
    return str(folder)


def test_the_way_back_goes_from_folder_to_folder(tmp_path: Path) -> None:
    images = Input("images", str(tmp_path / "images"), "i")
    codes = Input("codes", leave(tmp_path / "codes", "c", images), "c")
    leave(tmp_path / "generator", "g", codes)
    generator = Input("generator", str(tmp_path / "generator" / "model"), "g")  # Below the folder of its training.
    samples = Input("samples", leave(tmp_path / "samples", "s", generator), "s")
    end = Origin(codes, (Origin(images, None),))
    assert trace(samples) == Origin(samples, (Origin(generator, (end,)),))


def test_the_way_ends_if_the_fingerprints_differ(tmp_path: Path) -> None:
    codes = Input("codes", leave(tmp_path / "codes", "another"), "c")
    assert trace(codes) == Origin(codes, None)
    Path(tmp_path, "codes", SUMMARY_FILE).write_text("no summary")
    assert trace(codes) == Origin(codes, None)
    shutil.rmtree(tmp_path / "codes")
    assert trace(codes) == Origin(codes, None)
    assert trace(Input("file", str(Path(__file__)), "f")).origins is None
    assert trace(Input("far", "nosuchprotocol://host/file", "f")).origins is None


def test_a_summary_that_leads_to_itself_ends_the_way(tmp_path: Path) -> None:
    itself = Input("model", str(tmp_path), "m")
    leave(tmp_path, "m", itself)
    assert trace(itself) == Origin(itself, (Origin(itself, None),))


def test_a_second_start_adds_to_the_summary(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    leave(tmp_path, "m", Input("codes", "/codes", "c"))
    again = RunSummary(run="key")
    again.record("metrics", {"values": {"loss": 1.0}})
    again.save(folder)
    kept = RunSummary.read(folder)
    assert kept.metrics == {"images_per_s": 2.0, "loss": 1.0}
    assert (kept.run, kept.inputs, kept.output_fingerprints) == ("key", [Input("codes", "/codes", "c")], {"m"})
    with pytest.raises(FileNotFoundError):
        RunSummary.read(folder / "elsewhere")


DAMAGED = (
    "",
    '{"run": "k',
    "[]",
    "null",
    "3",
    '"text"',
    "{}",
    '{"run": 3}',
    '{"run": ""}',
    "no JSON",
    '{"run": "k", "inputs": [1]}',
)


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_summary_is_as_none_and_said_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    (tmp_path / SUMMARY_FILE).write_text(text)
    folder = Folder(str(tmp_path))
    with pytest.raises(DamagedSummary):
        RunSummary.read(folder)
    assert RunSummary.read_if_whole(folder) is None
    (said,) = (record.getMessage() for record in caplog.records)
    assert str(tmp_path / SUMMARY_FILE) in said
    assert "\n" not in said
    RunSummary(run="new").save(folder)
    assert RunSummary.read(folder).run == "new"


def test_a_summary_holds_no_secret(tmp_path: Path) -> None:
    summary = RunSummary(run="key")
    summary.record("tags", {"values": {"output.codes": "https://u:geheim@h/x"}})
    summary.record("input", {"name": "images", "url": "https://h/list.csv?sig=geheim", "fingerprint": "f"})
    summary.save(Folder(str(tmp_path)))
    assert "geheim" not in (tmp_path / SUMMARY_FILE).read_text()
    assert RunSummary.read(Folder(str(tmp_path))).inputs == [Input("images", "https://h/list.csv?sig=***", "f")]
