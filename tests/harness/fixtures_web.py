"""A web server for a test."""

from collections.abc import Iterator

import pytest

from tests.harness.web_server import Server, serving


@pytest.fixture
def web_server() -> Iterator[Server]:
    """A server of its own for a test."""
    with serving() as server:
        yield server
