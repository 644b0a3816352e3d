"""Ray Data's private interfaces are as this project uses them: after an upgrade of Ray, this fails first."""

import importlib
import inspect
import logging
from types import SimpleNamespace
from typing import Any

import pytest

pytestmark = pytest.mark.long


def test_policies_are_added_to_those_of_ray_and_ask_what_they_have() -> None:
    from ray.data._internal.execution.backpressure_policy import get_backpressure_policies
    from ray.data._internal.execution.interfaces import PhysicalOperator
    from ray.data._internal.execution.streaming_executor_state import OpState
    from ray.data.context import DataContext

    from pipeline.execution.ray_data_internals import ReadAhead, limit_read_ahead

    context = DataContext()
    limit_read_ahead(SimpleNamespace(context=context))  # pyright: ignore[reportArgumentType]
    policies = get_backpressure_policies(context, {}, SimpleNamespace())  # pyright: ignore[reportArgumentType]
    assert isinstance(policies[-1], ReadAhead)
    assert len(policies) > 1
    assert callable(OpState.total_enqueued_input_blocks)
    assert isinstance(PhysicalOperator.output_dependencies, property)
    assert "_topology" in inspect.getsource(inspect.getmro(ReadAhead)[1])


def test_a_step_waits_while_the_next_has_enough_to_do() -> None:
    from ray.data.context import DataContext

    from pipeline.execution.ray_data_internals import MAX_WAITING, ReadAhead

    for waiting, may_start in ((MAX_WAITING - 1, True), (MAX_WAITING, False)):
        state = SimpleNamespace(total_enqueued_input_blocks=lambda waiting=waiting: waiting)
        topology: Any = {"next": state}
        policy = ReadAhead(DataContext(), topology, SimpleNamespace())  # pyright: ignore[reportArgumentType]
        assert policy.can_add_input(SimpleNamespace(output_dependencies=["next"])) is may_start


def test_progress_is_logged_where_it_is_hidden() -> None:
    from pipeline.execution.ray_data_internals import PROGRESS_LOGGER, hide_progress

    assert importlib.import_module(PROGRESS_LOGGER).logger.name == PROGRESS_LOGGER
    context = SimpleNamespace()
    hide_progress(SimpleNamespace(context=context))  # pyright: ignore[reportArgumentType]
    assert vars(context) == {"enable_progress_bars": False, "print_on_execution_start": False}
    assert logging.getLogger(PROGRESS_LOGGER).level == logging.ERROR
