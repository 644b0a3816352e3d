"""What makes every worker's results the same: sums in one order, and the very weights that the driver has seen."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from bar_model.errors import BadInput


def use_one_thread(device: torch.device | str) -> None:
    """Lets this process compute with one thread if its device is a CPU.

    Threads divide the sums of a product among them, and the order of a float sum decides its last bits: the result
    would depend on the number of threads.
    """
    if torch.device(device).type == "cpu":
        torch.set_num_threads(1)


@contextmanager
def one_thread(device: torch.device | str) -> Iterator[None]:
    """`use_one_thread` for a block; afterwards the process has as many threads as before."""
    before = torch.get_num_threads()
    use_one_thread(device)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def check_unchanged(url: str, found: str, expected: str) -> None:
    """Checks that what a worker finds at a URL is what the driver has seen there, by fingerprint.

    Raises:
        BadInput: the fingerprints differ.
    """
    if found != expected:
        raise BadInput(f"{url}: has changed since the run began, or differs between machines: run again")
