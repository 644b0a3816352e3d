"""The limits are as the documents say."""

import re

import pytest

from pipeline.images.urls.limits import FetchLimits
from tests.harness.repository import REPOSITORY

LIMITS = FetchLimits()


@pytest.mark.parametrize(
    "row",
    [
        f"| tries of a picture | {LIMITS.tries}, ",
        f"| to connect, without a byte | {LIMITS.connect_s:g} s, {LIMITS.silence_s:g} s |",
        f"| a try; all tries of a picture | {LIMITS.try_s:g} s; {LIMITS.total_s:g} s |",
        f"| `Retry-After` | waited for up to {LIMITS.longest_wait_s:g} s;",
        f"| size of a picture | {LIMITS.max_bytes:,} bytes,",
        f"| redirects | {LIMITS.redirects} |",
        f"| connections to a host | {LIMITS.at_once_per_host} ",
        f"| a host that fails for {LIMITS.failures_until_hurry} pictures in a row |",
        f"after {LIMITS.patience_s:g} s of such tries",
    ],
)
def test_the_documents_give_each_limit(row: str) -> None:
    assert re.search(re.escape(row), (REPOSITORY / "docs/tokenizing.md").read_text())
