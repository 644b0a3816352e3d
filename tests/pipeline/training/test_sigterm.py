"""SIGTERM requests a stop first, and the stop reaches all ranks in the same step."""

import signal
from pathlib import Path

import pytest
import torch
from torch.distributed import FileStore  # pyright: ignore[reportPrivateImportUsage]

from pipeline.training.sigterm import StopSignal, stop_on_sigterm
from pipeline.training.step.ranks import Ranks


def test_the_first_sigterm_requests_a_stop_and_the_second_does_what_it_did_before() -> None:
    received: list[str] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append("before"))
    try:
        with stop_on_sigterm(lambda: received.append("request")):
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
        assert received == ["request", "before"]
        with stop_on_sigterm(lambda: received.append("request")):
            pass
        signal.raise_signal(signal.SIGTERM)
        assert received == ["request", "before", "before"]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_one_rank_alone_stops_in_the_same_step() -> None:
    stop = StopSignal(Ranks())
    assert [stop.exchange(each) for each in (False, True)] == [False, True]


@pytest.mark.system
def test_all_ranks_stop_one_step_after_the_first_rank_sent_it(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_exchange, (2, str(tmp_path)), nprocs=2)  # pyright: ignore[reportPrivateImportUsage]


def _exchange(rank: int, num_ranks: int, folder: str) -> None:
    store = FileStore(f"{folder}/store", num_ranks)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=num_ranks)
    stop = StopSignal(Ranks(rank=rank, num=num_ranks))
    # The second rank's answers do not count.
    sent = [False, True, False, False] if rank == 0 else [True, False, False, True]
    assert [stop.exchange(each) for each in sent] == [False, False, True, False]
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
