"""A worker's checkpoints: copied while the training waits, written while it goes on, listed when all ranks are done."""

import socket
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from bar_model.errors import BadInput
from pipeline.storage import Folder
from pipeline.training.checkpoints.listing import FOLDER, checkpoint_name
from pipeline.training.checkpoints.state import Snapshot
from pipeline.training.ray_train_internals import run_storage
from pipeline.training.step.ranks import Ranks

if TYPE_CHECKING:
    from ray.train import Checkpoint


class Saver:
    """Writes one checkpoint after the other for this rank."""

    def __init__(self, out: Folder, ranks: Ranks) -> None:
        """Prepares to write below the output folder `out`, which the driver has made.

        Raises:
            BadInput: this machine does not see that folder.
        """
        self._folder = out / FOLDER
        if not self._folder.exists():
            raise BadInput(
                f"{self._folder} is not there on {socket.gethostname()}: workers on several machines need an --out "
                "that all of them see, such as s3://…"
            )
        self._snapshot = Snapshot(ranks)
        self._attempt = uuid.uuid4().hex[:8]
        self._is_written = threading.Event()
        self._is_written.set()

    def save(
        self, tensors: Mapping[str, Tensor], values: Mapping[str, Any], *, step: int, metrics: Mapping[str, float]
    ) -> None:
        """Copies the state and returns; all ranks have to call this after the same step.

        It waits until the checkpoint before is written. A thread of Ray Train writes this one and then reports it to
        Ray Train's controller, which lists the checkpoint once all ranks have reported it. So ranks need not wait for
        each other.
        """
        from ray import train

        self._is_written.wait()
        self._snapshot.take(tensors, values)
        self._is_written.clear()
        storage = run_storage()
        train.report(
            {"step": step, **metrics},
            checkpoint=train.Checkpoint(storage.path, storage.filesystem),
            checkpoint_dir_name=checkpoint_name(step, self._attempt),
            checkpoint_upload_mode=train.CheckpointUploadMode.ASYNC,
            checkpoint_upload_fn=self._write,
            # There is no local checkpoint: what is passed here is the place where it will be.
            delete_local_checkpoint_after_upload=False,
        )

    def _write(self, checkpoints: "Checkpoint", name: str) -> "Checkpoint":
        """Writes this rank's part; `name` is the first rank's, so that all write to one folder."""
        from ray import train

        self._snapshot.write(self._folder / name)
        self._is_written.set()  # Not after an error: then Ray Train tries again, or ends this worker.
        return train.Checkpoint(f"{checkpoints.path}/{name}", checkpoints.filesystem)


@contextmanager
def local_checkpoint(found: "Checkpoint", out: Folder) -> Iterator[str]:
    """A checkpoint's folder on this machine: its own place, or a copy that the workers of this machine share."""
    url = (out / FOLDER).path(Path(found.path).name)
    if out.is_local:
        yield url
        return
    with found.as_directory() as copy:
        try:
            yield copy
        except BadInput as error:
            raise BadInput(str(error).replace(copy, url)) from error
