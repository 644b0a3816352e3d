"""All that this project uses of Ray Data's private interfaces, with the public way beside it where there is one.

Another version of Ray may change them without notice; tests/pipeline/execution/test_ray_data_internals.py fails then.
This module imports Ray, so that others import it inside the function that uses it.
"""

import logging
from typing import Any

from ray.data import Dataset
from ray.data._internal.execution.backpressure_policy import (
    ENABLED_BACKPRESSURE_POLICIES,
    ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY,
    BackpressurePolicy,
)

MAX_WAITING = 64
"""Blocks that wait for a step; from this number on the step before it starts no further task."""
PROGRESS_LOGGER = "ray.data._internal.progress"


class ReadAhead(BackpressurePolicy):
    """No task is started whose output would join a long queue.

    How far a step may run ahead of the next one is counted in units here. Ray counts bytes alone: it starts the step
    with the fewest bytes waiting behind it. Where units are small when they are read, it would read all of them before
    the first is written, and the driver keeps track of each. The public settings (`ExecutionOptions.resource_limits`,
    `DataContext.downstream_capacity_backpressure_ratio`) count bytes, too; policies can only be added in private.
    """

    def can_add_input(self, op: Any) -> bool:
        """Whether the operator may start a task: no step after it has `MAX_WAITING` blocks to work on."""
        waiting = (self._topology[following].total_enqueued_input_blocks() for following in op.output_dependencies)
        return all(num < MAX_WAITING for num in waiting)


def limit_read_ahead(dataset: Dataset) -> None:
    """Adds `ReadAhead` to the policies of a data set's execution."""
    dataset.context.set_config(ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY, [*ENABLED_BACKPRESSURE_POLICIES, ReadAhead])


def hide_progress(dataset: Dataset) -> None:
    """Switches Ray Data's own display of progress off: the stage has one.

    The settings are public. Ray warns in its log that there are no bars then, which only its private logger can stop.
    """
    dataset.context.enable_progress_bars = False
    dataset.context.print_on_execution_start = False
    logging.getLogger(PROGRESS_LOGGER).setLevel(logging.ERROR)
