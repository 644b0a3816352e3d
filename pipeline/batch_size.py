"""How many images fit into a worker's memory at once: asked where the workers run, and checked there."""

from typing import Literal

import torch

from bar_model.bar import BarConfig
from bar_model.errors import BadInput
from bar_model.memory import available_bytes, readable_bytes
from bar_model.sampling import Sampling
from pipeline.units import Workers

Auto = Literal["auto"]

SHARE = 0.5
"""Of the free memory, for keys and values: weights, their copy for the engine, noise and decoding take the rest."""


def bytes_an_image(generator: BarConfig, sampling: Sampling, precision: str) -> int:
    """What an image takes while it is drawn: keys and values of every slot but the last, twice with guidance."""
    transformer = generator.transformer
    slots = transformer.prefix + generator.grid**2 - 1
    branches = 2 if sampling.guided else 1
    return branches * transformer.depth * 2 * slots * transformer.width * getattr(torch, precision).itemsize


def choose_batch_size(bytes_each: int, *, unit_size: int, device: str, workers: Workers) -> int:
    """The greatest divisor of `unit_size` that fits; a task on the cluster looks how much is free.

    Raises:
        BadInput: there is no room for a single image.
    """
    import ray

    look = ray.remote(num_cpus=workers.cpus, num_gpus=workers.gpus)(available_bytes)
    free: int = ray.get(look.remote(torch.device(device)))
    # Each worker has a GPU of its own, but workers on CPUs may all be on one machine.
    room = SHARE * (free if workers.gpus else free / workers.num)
    for size in range(unit_size, 0, -1):
        if unit_size % size == 0 and size * bytes_each <= room:
            return size
    raise BadInput(
        f"batch_size: auto, but an image needs {readable_bytes(bytes_each)} for keys and values, and a worker on "
        f"{device} has {readable_bytes(int(room))} for them: ask for fewer workers, or free memory there"
    )


def check_batch_size(bytes_each: int, batch_size: int, device: str) -> None:
    """BadInput where the memory that is free here can't hold a batch."""
    needed, free = bytes_each * batch_size, available_bytes(torch.device(device))
    if needed > free:
        raise BadInput(
            f"batch_size: {batch_size} images need {readable_bytes(needed)} for keys and values, but {device} has "
            f"{readable_bytes(free)} free: ask for fewer at once, or for `--batch-size auto`"
        )
