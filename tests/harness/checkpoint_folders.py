"""Folders of checkpoints with the list that Ray Train keeps of them."""

import json

import torch

from pipeline.storage import Folder
from pipeline.training.checkpoints.listing import (
    FOLDER,
    checkpoint_name,
)
from pipeline.training.checkpoints.state import Snapshot
from pipeline.training.ray_train_internals import LIST_FILE
from pipeline.training.step.ranks import Ranks


def write_checkpoints(out: Folder, *steps: int) -> list[str]:
    """Checkpoints of these steps, each of one tensor, and the list that Ray Train would keep of them; their names."""
    names = [checkpoint_name(step, "aaaa") for step in steps]
    results = [{"version": 0, "checkpoint_dir_name": name, "metrics": {"step": 1}} for name in names]
    snapshot = Snapshot(Ranks())
    for name in names:
        snapshot.take({"weight": torch.zeros(1)}, {"step": 1})
        snapshot.write(out / FOLDER / name)
    listing = {
        "ray_version": "of today",
        "checkpoint_results": results,
        "checkpoint_report_indices": list(range(len(names))),
        "latest_checkpoint_result": results[-1],
    }
    (out / FOLDER).write(LIST_FILE, json.dumps(listing).encode())
    return names


def listing_of(out: Folder) -> dict:
    """The content of Ray Train's list."""
    return json.loads((out / FOLDER).read(LIST_FILE))
