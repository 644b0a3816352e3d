"""SIGTERM to the driver: the workers save a checkpoint and stop, all after the same step."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
import torch.distributed
from torch.distributed import Work

from pipeline.training.step.ranks import Ranks

GRACE_PERIOD_S = 120.0
"""Seconds that a driver waits after SIGTERM, at least, for its workers, which may not even have begun."""
_RAY_GRACE = "RAY_JOB_STOP_WAIT_TIME_S"  # Seconds that Ray waits before it sends SIGKILL to a job's driver.
EXIT_CODE = 128 + signal.SIGTERM


class StopSignal:
    """Whether to stop, sent from the first rank to all ranks and read one step later.

    It travels from CPU to CPU beside the exchange of gradients. In each step a rank reads what was sent in the step
    before, so that all ranks read the same in the same step, and no step waits for the device or the network.
    """

    def __init__(self, ranks: Ranks) -> None:
        """All ranks have to call it together."""
        self._group: Any = torch.distributed.new_group(backend="gloo") if ranks.num > 1 else None
        self._sent = torch.zeros(1)
        self._under_way: Work | None = None

    def exchange(self, stop: bool) -> bool:
        """Sends this step's answer and returns the one of the step before; only the first rank's answer counts.

        With one rank alone, it returns this step's answer.
        """
        if self._group is None:
            return stop
        if self._under_way is not None:
            self._under_way.wait()
        received = bool(self._sent)
        self._sent = torch.full((1,), float(stop))
        self._under_way = torch.distributed.broadcast(self._sent, src=0, group=self._group, async_op=True)
        return received


@contextmanager
def stop_on_sigterm(request_stop: Callable[[], None]) -> Iterator[None]:
    """While the block lasts, the first SIGTERM calls `request_stop`; a second one does what SIGTERM did before.

    After the grace period this process sends the second one to itself.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    grace_s = max(GRACE_PERIOD_S, float(os.environ.get(_RAY_GRACE, 0)))
    second = threading.Timer(grace_s, os.kill, (os.getpid(), signal.SIGTERM))
    second.daemon = True

    def first(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, before)
        second.start()
        request_stop()
        print("SIGTERM: saving a checkpoint first; a second SIGTERM ends the training at once", flush=True)

    signal.signal(signal.SIGTERM, first)
    try:
        yield
    finally:
        second.cancel()
        signal.signal(signal.SIGTERM, before)
