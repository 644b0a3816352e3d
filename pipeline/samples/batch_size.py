"""Choosing batch_size `auto`: measures the free memory where the workers run."""

from dataclasses import dataclass
from typing import Literal

import torch

from bar_model.engine.batch_size import largest_batch
from bar_model.errors import BadInput
from bar_model.generator.bar import Bar
from bar_model.generator.sampling import Sampling
from bar_model.memory import available_bytes
from bar_model.tokenizer.tokenizer import Tokenizer
from pipeline.execution.ray_data import Workers

Auto = Literal["auto"]


@dataclass(frozen=True, kw_only=True)
class WorkerLoad:
    """What a worker holds in memory and draws. Only the sizes of the models count, not their weights."""

    generator: Bar
    tokenizer: Tokenizer
    sampling: Sampling
    precision: str

    def choose(self, *, unit_size: int, device: str, workers: Workers) -> int:
        """The greatest divisor of `unit_size` that fits into memory. A task on the cluster measures how much is free.

        Raises:
            BadInput: the models and a single image do not fit.
        """
        import ray

        look = ray.remote(num_cpus=workers.cpus, num_gpus=workers.gpus)(available_bytes)
        free: int = ray.get(look.remote(torch.device(device)))
        # Each worker has a GPU of its own, but workers on CPUs may all be on one machine.
        room = free if workers.gpus else free // workers.num
        try:
            most = largest_batch(
                self.generator,
                max(0, room - self._model_bytes),
                sampling=self.sampling,
                dtype=self._dtype,
                tokenizer=self.tokenizer.config,
            )
        except BadInput as error:
            raise BadInput(f"batch_size: auto, but for each worker on {device}, {error}") from error
        return next(size for size in range(min(most, unit_size), 0, -1) if unit_size % size == 0)

    @property
    def _dtype(self) -> torch.dtype:
        return getattr(torch, self.precision)

    @property
    def _model_bytes(self) -> int:
        """The size of both models and of the copies that are prepared for drawing and decoding."""
        models = (self.generator, self.tokenizer)
        return 2 * sum(parameter.nbytes for model in models for parameter in model.parameters())
