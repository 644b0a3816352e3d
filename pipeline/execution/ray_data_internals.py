"""How far a step of a Ray Data set may run ahead of the next one: counted in units, for Ray counts bytes alone.

Left to itself it starts whatever has the least bytes waiting behind it. Where units are small as they are read, that is
the reading of all of them, before the first is written: each an object that the driver keeps track of.
"""

from typing import Any

from ray.data import Dataset
from ray.data._internal.execution.backpressure_policy import (  # Where Ray Data is open to others, if not in its API.
    ENABLED_BACKPRESSURE_POLICIES,
    ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY,
    BackpressurePolicy,
)

MAX_WAITING = 64
"""Blocks that wait for a step, from which on the step before it starts nothing more."""


class ReadAhead(BackpressurePolicy):
    """No task is started whose output would join a long queue."""

    def can_add_input(self, op: Any) -> bool:
        waiting = (self._topology[following].total_enqueued_input_blocks() for following in op.output_dependencies)
        return all(num < MAX_WAITING for num in waiting)


def limit_read_ahead(dataset: Dataset) -> None:
    dataset.context.set_config(ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY, [*ENABLED_BACKPRESSURE_POLICIES, ReadAhead])
