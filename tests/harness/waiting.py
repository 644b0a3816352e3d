"""Until something is so."""

import time
from collections.abc import Callable


def wait_for(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    """Asks every so often; fails where it takes too long."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
