"""Stages one after another, announced and timed."""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.execution.manifest import Inputs, Manifest
from pipeline.storage import Folder
from pipeline.workflows.stages import Workflow
from tests.harness.odd_paths import ODD_PATHS


@dataclass(frozen=True)
class Config:
    """The least that a stage's configuration has."""

    out: str


class RecordingRun:
    """A run that keeps what it is given."""

    def __init__(self) -> None:
        self.children: list[str] = []
        self.values: dict[str, float] = {}

    @contextmanager
    def child(self, name: str, config: object, *, out: str) -> Iterator["RecordingRun"]:
        self.children.append(name)
        yield self

    def metrics(self, values: Mapping[str, float]) -> None:
        self.values |= values


def finish(config: Config, run: object) -> str:
    """A stage that leaves a manifest alone."""
    Manifest(stage="s", generation=1, configuration={}, inputs=Inputs(0, ""), files=()).commit(Folder(config.out))
    return config.out


def test_a_stage_is_a_child_run_and_is_said_to_be_finished_the_second_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for ending in ("", " (finished before)"):
        run = RecordingRun()
        workflow = Workflow(run)  # pyright: ignore[reportArgumentType]
        assert workflow.stage("train", finish, Config(str(tmp_path / "out"))) == str(tmp_path / "out")
        assert capsys.readouterr().out == f"\ntrain{ending}\n"
        assert run.children == ["train"]
        assert run.values.keys() == {"minutes/train"}


@pytest.mark.parametrize("name", ODD_PATHS)
def test_names_are_shown_as_they_are(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    workflow = Workflow(RecordingRun())  # pyright: ignore[reportArgumentType]
    assert workflow.time(name, lambda: 7) == 7
    assert name in capsys.readouterr().out
    text = io.StringIO()
    Console(file=text, width=100).print(workflow.table())
    assert name in text.getvalue()
