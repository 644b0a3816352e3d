"""What ranks do together."""

from pathlib import Path

import pytest
import torch
from torch.distributed import FileStore  # pyright: ignore[reportPrivateImportUsage]

from bar_model.errors import BadInput
from pipeline.training.step.ranks import Ranks, Refused


@pytest.mark.system
def test_what_one_rank_refuses_all_refuse(tmp_path: Path) -> None:
    """Else the others would wait for it in their next exchange."""
    torch.multiprocessing.spawn(_refuse, (2, str(tmp_path)), nprocs=2)  # pyright: ignore[reportPrivateImportUsage]


def _refuse(rank: int, num_ranks: int, folder: str) -> None:
    store = FileStore(f"{folder}/store", num_ranks)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=num_ranks)
    ranks = Ranks(rank=rank, num=num_ranks)

    def look() -> int:
        if rank == 1:
            raise BadInput("no room on this machine")
        return rank

    with pytest.raises(Refused, match="no room on this machine"):
        ranks.together(look)
    assert ranks.together(lambda: rank) == rank
    torch.distributed.destroy_process_group()
