"""What disks, half-written copies and editors make of a file: bytes flipped, cut, repeated, or something else."""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from bar_model.errors import BadInput

SHAPES = (
    b"",
    b"null",
    b"[]",
    b"{}",
    b"3",
    b'"x"',
    b"{",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"format": null}',
    b'{"format": 1}',
)
"""Contents that no JSON file of a stage has: nothing, other values, half an object, no text, and much too deep."""


def refusal(read: Callable[[], object]) -> str | None:
    """The message with which a reader refuses what it reads; None if it takes it."""
    try:
        read()
    except BadInput as error:
        message = str(error)
    else:
        return None
    assert "\n" not in message
    return message


_VALUES = st.sampled_from([None, [], {}, "", "x", -1, 1.5, 10**30, True, [None], {"x": None}])


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes of a file in which some were flipped, cut off, left out or written twice."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        length = draw(st.integers(1, 64))
        kind = draw(st.sampled_from(["flip", "cut", "leave out", "repeat", "overwrite"]))
        if kind == "flip" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del data[at:]
        elif kind == "leave out":
            del data[at : at + length]
        elif kind == "repeat":
            data[at:at] = data[at : at + length]
        else:
            data[at : at + length] = draw(st.binary(min_size=length, max_size=length))
    return bytes(data)


@st.composite
def misshapen(draw: st.DrawFn, whole: bytes) -> bytes:
    """A JSON document in which one value, at any depth, is another or gone."""
    document = json.loads(whole)
    places = list(_places(document))
    parent, key = draw(st.sampled_from(places))
    if draw(st.booleans()):
        del parent[key]
    else:
        parent[key] = draw(_VALUES)
    return json.dumps(document).encode()


def _places(value: Any) -> Any:
    """(parent, key) of every value in a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield value, key
        yield from _places(inner)
