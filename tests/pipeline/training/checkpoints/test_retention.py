"""Old checkpoints are removed while a training goes on, and what can't be removed does not end it."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.storage import Folder
from pipeline.training.checkpoints import retention
from pipeline.training.checkpoints.filesystem import remove_folder
from pipeline.training.checkpoints.listing import FOLDER
from tests.harness.checkpoint_folders import write_checkpoints


def test_what_can_not_be_removed_does_not_end_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Folder(str(tmp_path))
    names = write_checkpoints(out, 10, 20, 30, 40)
    keeping = retention.retention(out, [], newest=1, best=0)

    def report(name: str) -> None:
        keeping.after_report(None, [{}], SimpleNamespace(path=f"anywhere/{name}"))

    def refuse(out: Folder, name: str) -> None:
        raise PermissionError("DeleteObject")

    with monkeypatch.context() as patched:
        patched.setattr(retention, "remove", refuse)
        for name in names[:3]:
            report(name)
    assert f"{names[0]} is no longer needed, but can't be removed (DeleteObject)" in capsys.readouterr().out
    assert len((out / FOLDER).folders()) == 4
    remove_folder(out / FOLDER / names[1])
    report(names[3])
    assert (out / FOLDER).folders() == (names[3],)
