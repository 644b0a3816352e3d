"""Every place that a configuration names is looked at before any work starts."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
import tyro

from bar_model.errors import BadInput
from pipeline.paths import InputUrl, OutputFolder, SourceUrl, check_paths

pytest_plugins = ["tests.harness.fixtures_s3"]


@dataclass(frozen=True, kw_only=True)
class Networks:
    vgg: InputUrl | None = None


@dataclass(frozen=True, kw_only=True)
class Config:
    folder: tyro.conf.Positional[InputUrl] | None = None
    samples: tuple[InputUrl, ...] = ()
    source: SourceUrl | None = None
    out: OutputFolder | None = None
    networks: Networks = field(default_factory=Networks)
    note: str = "nowhere/at/all"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "file.txt").write_text("x")
    (tmp_path / "a [1].parquet").write_text("x")
    (tmp_path / "folder").mkdir()
    return tmp_path


SOUND = [
    lambda here: Config(),
    lambda here: Config(folder=f"{here}/file.txt", samples=(f"{here}/folder", str(here))),
    lambda here: Config(source=f"{here}/folder"),
    lambda here: Config(source=f"{here}/*.parquet"),
    lambda here: Config(source=f"{here}/a [1].parquet"),
    lambda here: Config(out=f"{here}/folder"),
    lambda here: Config(out=f"{here}/new/and/deeper"),
    lambda here: Config(networks=Networks(vgg=f"{here}/file.txt")),
]


@pytest.mark.parametrize("config", SOUND)
def test_what_is_there_passes(here: Path, config) -> None:
    check_paths(config(here))


BAD = [
    (lambda here: Config(folder=f"{here}/gone"), r"^folder: .*/gone is not there"),
    (lambda here: Config(samples=(str(here), f"{here}/gone")), r"^samples: .*/gone is not there"),
    (lambda here: Config(networks=Networks(vgg=f"{here}/gone")), r"^networks.vgg: .*/gone is not there"),
    (lambda here: Config(source=f"{here}/*.tar"), r"^source: .*/\*.tar: no file is there"),
    (lambda here: Config(source=f"{here}/gone/*.tar"), r"^source: .*/\*.tar: no file is there"),
    (lambda here: Config(out=f"{here}/file.txt"), r"^out: .*/file.txt is a file: name a folder"),
    (lambda here: Config(out=f"{here}/file.txt/below"), r"^out: .*/below lies below .*/file.txt, which is a file"),
    (lambda here: Config(out="gs://bucket/folder"), r"^out: gs://bucket/folder"),
    (
        lambda here: Config(folder="https://u:***@h/x"),
        r"^folder: https:.* was copied .* give the whole URL",
    ),
    (lambda here: Config(source="https://h/x.csv?a=1&sig=***"), "^source: .* was copied"),
    (lambda here: Config(folder=""), "^folder: '' names no folder"),
    (lambda here: Config(folder="nonsense://x"), "^folder: nonsense://x"),
]


@pytest.mark.parametrize(("config", "message"), BAD)
def test_what_is_wrong_is_one_line_with_the_field_and_the_place(here: Path, config, message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        check_paths(config(here))
    assert "\n" not in str(caught.value)


def test_an_output_of_a_submitted_job_does_not_go_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray unpacks the job in a temporary folder and works there."""
    folder = tmp_path / "runtime_resources" / "working_dir_files" / "package"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    check_paths(Config(out="results"))
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    with pytest.raises(BadInput, match=r"^out: .*results would lie in a temporary folder of Ray's.*absolute path"):
        check_paths(Config(out="results"))
    check_paths(Config(out=f"{tmp_path}/results"))
    monkeypatch.chdir(tmp_path)
    check_paths(Config(out="results"))


@pytest.mark.parametrize("name", ["gone", "file.txt"])
def test_a_temporary_folder_that_is_none_is_said(here: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("TMPDIR", f"{here}/{name}")
    with pytest.raises(BadInput, match=f"^TMPDIR: {here}/{name} is no folder that can be written: make it, or unset"):
        check_paths(Config())


@pytest.mark.system
def test_a_store_is_asked_for_its_bucket_and_may_be_out_of_reach(
    s3_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_paths(Config(out=s3_folder))
    with pytest.raises(BadInput, match=r"^out: s3://no-such-bucket/x: there is no bucket 'no-such-bucket'"):
        check_paths(Config(out="s3://no-such-bucket/x"))
    with pytest.raises(BadInput, match=r"^folder: .* is not there"):
        check_paths(Config(folder=s3_folder))
