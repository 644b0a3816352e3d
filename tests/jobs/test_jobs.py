"""Every job is a command: it answers --help, prints its configuration, and refuses what is wrong in one line."""

import runpy
import sys
from pathlib import Path

import pytest
import yaml

from tests.harness.repository import REPOSITORY

JOBS = sorted(path.name for path in (REPOSITORY / "jobs").glob("*.py") if path.name != "__init__.py")
PLAIN = {"compare_reports.py", "export_model.py", "inspect_codes.py", "write_npz.py"}
"""Jobs without presets."""


def outcome(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, job: str, *arguments: str
) -> tuple[int | str | None, str, str]:
    """Exit code, stdout and stderr of a job's file, run in this process as Python runs it."""
    monkeypatch.setattr(sys, "argv", [f"jobs/{job}", *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(REPOSITORY / "jobs" / job), run_name="__main__")
    out, err = capsys.readouterr()
    return ended.value.code, out, err


@pytest.mark.parametrize("job", JOBS)
def test_help_says_how_it_is_called(
    job: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = outcome(capsys, monkeypatch, job, "--help")
    assert (code, err) == (0, "")
    assert out.startswith("usage: python ")
    assert f"jobs/{job}" in out.partition("\n")[0]
    assert ("presets:" in out) == (job not in PLAIN)


@pytest.mark.parametrize("job", JOBS)
def test_every_configuration_is_printed_though_what_is_required_is_missing(
    job: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    presets = [()] if job in PLAIN else [(name,) for name in presets_of(job, capsys, monkeypatch)]
    for preset in presets:
        code, out, err = outcome(capsys, monkeypatch, job, *preset, "--print-config")
        assert (code, err) == (0, "")
        assert isinstance(yaml.safe_load(out), dict)


def presets_of(job: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    _, out, _ = outcome(capsys, monkeypatch, job, "--help")
    lines = out.partition("presets:\n")[2].partition("\n\n")[0].splitlines()
    return [line.split()[0] for line in lines]


@pytest.mark.parametrize("job", JOBS)
def test_what_is_wrong_is_one_line_before_any_work(
    job: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A path that is wrong, too, is found before Ray is started."""
    monkeypatch.setattr("pipeline.cluster.connect", lambda config: pytest.fail("Ray was started"))
    if job in PLAIN:
        required = [str(tmp_path / "gone")] + (["--to", str(tmp_path / "model")] if job == "export_model.py" else [])
    else:
        preset = presets_of(job, capsys, monkeypatch)[0]
        _, out, _ = outcome(capsys, monkeypatch, job, preset, "--print-config")
        missing = [line.partition(":")[0] for line in out.splitlines() if "???" in line]
        required = [preset]
        for name in missing:
            required += [f"--{name.replace('_', '-')}", str(tmp_path / "gone")]
        if not missing:  # The quickstart has defaults for everything.
            (tmp_path / "file").write_text("")
            required += ["--out", str(tmp_path / "file" / "below")]
    code, out, err = outcome(capsys, monkeypatch, job, *required)
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert str(tmp_path) in err
    code, _, err = outcome(capsys, monkeypatch, job, *required, "--no-such-option")
    assert (code, err.count("\n")) == (2, 1)
