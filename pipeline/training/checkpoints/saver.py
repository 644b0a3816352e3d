"""Checkpoints in a worker: copied while the training waits, written beside it, listed once all ranks have written."""

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
from pipeline.training.step.ranks import Ranks

if TYPE_CHECKING:
    from ray.train import Checkpoint


class Saver:
    """Makes one checkpoint after the other."""

    def __init__(self, out: Folder, ranks: Ranks) -> None:
        """Raises: BadInput: this machine does not see the folder that the driver has made."""
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
        """Copy the state, and go on; all ranks have to come here after the same step.

        Waits until the state before is written. Ray Train's thread writes this one, then tells its controller, which
        lists the checkpoint once it was told so by all ranks: nobody has to agree on when that is.
        """
        from ray import train

        self._is_written.wait()
        self._snapshot.take(tensors, values)
        self._is_written.clear()
        storage: Any = train.get_context().get_storage()
        train.report(
            {"step": step, **metrics},
            checkpoint=train.Checkpoint(storage.experiment_fs_path, storage.storage_filesystem),
            checkpoint_dir_name=checkpoint_name(step, self._attempt),
            checkpoint_upload_mode=train.CheckpointUploadMode.ASYNC,
            checkpoint_upload_fn=self._write,
            delete_local_checkpoint_after_upload=False,  # There is none: what is given is where it will be.
        )

    def _write(self, checkpoints: "Checkpoint", name: str) -> "Checkpoint":
        """`name` is the first rank's."""
        from ray import train

        self._snapshot.write(self._folder / name)
        self._is_written.set()  # Not where it has failed: Ray Train tries again, or ends this worker.
        return train.Checkpoint(f"{checkpoints.path}/{name}", checkpoints.filesystem)


@contextmanager
def at_hand(found: "Checkpoint", out: Folder) -> Iterator[str]:
    """The checkpoint's folder on this machine: where it lies, or a copy that this machine's workers share."""
    url = (out / FOLDER).path(Path(found.path).name)
    if out.is_local:
        yield url
        return
    with found.as_directory() as copy:
        try:
            yield copy
        except BadInput as error:
            raise BadInput(str(error).replace(copy, url)) from error
