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

PATIENCE_S = 120.0
"""How long a driver that got SIGTERM waits at least for its workers, who may not even have begun."""
_GRACE = "RAY_JOB_STOP_WAIT_TIME_S"  # How long Ray waits before SIGKILL.
EXIT_CODE = 128 + signal.SIGTERM


class Word:
    """Yes or no, from the first rank to all of them, a step late: so the step waits neither for device nor network.

    It goes from CPU to CPU beside the training's own exchange, and each rank reads in a step what was sent in the one
    before: all find the same in the same step.
    """

    def __init__(self, ranks: Ranks) -> None:
        self._group: Any = torch.distributed.new_group(backend="gloo") if ranks.num > 1 else None
        self._sent = torch.zeros(1)
        self._on_its_way: Work | None = None

    def pass_on(self, word: bool) -> bool:
        """Send this step's word, which only the first rank's counts of; the word of the step before."""
        if self._group is None:
            return word
        if self._on_its_way is not None:
            self._on_its_way.wait()
        arrived = bool(self._sent)
        self._sent = torch.full((1,), float(word))
        self._on_its_way = torch.distributed.broadcast(self._sent, src=0, group=self._group, async_op=True)
        return arrived


@contextmanager
def sigterm_asks(ask: Callable[[], None]) -> Iterator[None]:
    """While the block lasts, the first SIGTERM calls `ask`; a second one, or impatience, does what it did before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    patience_s = max(PATIENCE_S, float(os.environ.get(_GRACE, 0)))
    impatience = threading.Timer(patience_s, os.kill, (os.getpid(), signal.SIGTERM))
    impatience.daemon = True

    def first(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, before)
        impatience.start()
        ask()
        print("SIGTERM: saving a checkpoint first; a second one ends this at once", flush=True)

    signal.signal(signal.SIGTERM, first)
    try:
        yield
    finally:
        impatience.cancel()
        signal.signal(signal.SIGTERM, before)
