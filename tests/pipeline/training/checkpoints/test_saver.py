"""Checkpoints in a worker: where they are written, and where they are read."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bar_model.errors import BadInput
from pipeline.storage import Folder
from pipeline.training.checkpoints import saver as saver_module
from pipeline.training.checkpoints.listing import FOLDER
from pipeline.training.checkpoints.saver import Saver, local_checkpoint
from pipeline.training.checkpoints.state import check_state, load_state
from pipeline.training.ray_train_internals import RunStorage
from pipeline.training.step.ranks import Ranks


def test_a_folder_that_this_machine_does_not_see_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"checkpoints is not there on .*: workers on several machines need an --out"):
        Saver(Folder(str(tmp_path)), Ranks())


@pytest.mark.long
def test_a_checkpoint_is_reported_and_written_later_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray.train

    reports: list[tuple[dict[str, Any], dict[str, Any]]] = []
    monkeypatch.setattr(saver_module, "run_storage", lambda: RunStorage(f"{tmp_path}/{FOLDER}", None))
    monkeypatch.setattr(ray.train, "report", lambda metrics, **options: reports.append((metrics, options)))
    (tmp_path / FOLDER).mkdir()
    saver, weight = Saver(Folder(str(tmp_path)), Ranks()), torch.ones(2)
    saver.save({"weight": weight}, {"step": 5}, step=5, metrics={"loss": 0.5})
    weight.zero_()
    ((metrics, options),) = reports
    assert metrics == {"step": 5, "loss": 0.5}
    name = options["checkpoint_dir_name"]
    assert name.startswith("step-00000005-")
    assert not (tmp_path / FOLDER / name).exists()
    written = options["checkpoint_upload_fn"](options["checkpoint"], name)
    assert written.path == str(tmp_path / FOLDER / name)
    assert check_state(Folder(written.path), contents=True) == {"step": 5}
    load_state(Path(written.path), {"weight": weight})
    assert weight.tolist() == [1, 1]
    saver.save({"weight": weight}, {"step": 6}, step=6, metrics={})  # Does not wait: the one before is written.
    assert len(reports) == 2


def test_a_checkpoint_is_read_where_it_lies_or_as_a_copy(tmp_path: Path) -> None:
    copy: Any = SimpleNamespace(path="bucket/out/checkpoints/step-1", as_directory=lambda: nullcontext("/a/copy"))
    with local_checkpoint(copy, Folder(str(tmp_path))) as folder:
        assert folder == str(tmp_path / FOLDER / "step-1")
    # A message names the place that the user knows, not the copy.
    remote = Folder("memory://bucket/out")

    def read() -> None:
        with local_checkpoint(copy, remote) as folder:
            raise BadInput(f"{folder}/file is damaged")

    with pytest.raises(BadInput, match=r"memory://\S*bucket/out/checkpoints/step-1/file is damaged"):
        read()
