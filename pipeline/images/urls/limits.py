"""How long and how much a picture of a list may take, and the error of a try that may be repeated."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class FetchLimits:
    """How long and how much a picture of a list may take, and how its servers are treated."""

    tries: int = 4
    connect_s: float = 10
    silence_s: float = 20
    """Without a byte for so long, a try ends."""
    try_s: float = 60
    total_s: float = 90
    """All tries of a picture, with the waits between them."""
    first_wait_s: float = 0.5
    """Before the second try; doubled for each one after it, and varied by half."""
    longest_wait_s: float = 30
    """A server that asks (`Retry-After`) for more than this is left alone until the next run."""
    max_bytes: int = 2**27
    redirects: int = 10
    at_once_per_host: int = 8
    failures_until_hurry: int = 8
    """After so many pictures in a row that could not be got from a host, its others are tried once each."""
    patience_s: float = 300
    """After so much time, summed over such tries in a row, a host is not asked for the others of a unit."""


class NoAnswer(Exception):
    """A try that failed for a reason that may pass; `after_s` is how long the server asks to wait."""

    def __init__(self, why: str, *, after_s: float | None = None, retry: bool = True) -> None:
        super().__init__(why)
        self.after_s, self.retry = after_s, retry


def too_large(limit: int) -> str:
    """The reason of a picture of more bytes than the limit."""
    return f"is larger than {limit:,} bytes"
