"""Damage to bytes, to texts and to JSON, as disks, networks and people do it."""

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
DEEP = 100_000
"""Brackets in brackets: more than any reader that calls itself survives."""
WORDS = (
    *(b'"', b"'", b",", b"\n", b"\r\n", b"\0", b"\x1b[31m", b"\\", b"{", b"}", b"[", b"]", b":", b"#", b"&a", b"*a"),
    *(b"\xef\xbb\xbf", b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", "\u202eé\u2028".encode()),
    *(b"NaN", b"-Infinity", b"1e999", b"-1", b"0", b"null", b"true", b"9" * 5000, b"x" * 5000, b"2026-13-45", b"!!map"),
    *(b"../x", b"/etc/passwd", b"file:///x", b"http://[::1", b"s3://", b"[" * DEEP, b'{"a":' * DEEP, b"%s%n", b"\t"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 3, 2**31, 2**63, 2**64, -(2**63), 10**30, 10**400, 0.5, 1e308, -0.0),
    *(float("nan"), float("inf"), "", "x", "0", "1e5", "\0", "\n", "\x1b[2J", "../x", "/x", "\ud800", "é" * 300),
    *([], {}, [[]], [None], {"": 0}, [0], ["x"], {"x": None}, "[deep]"),
)


def bytes_damaged(chance: Random, original: bytes, originals: Sequence[bytes]) -> bytes:
    """One to four damages to bytes, wherever they are."""
    data = bytearray(original)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        chance.choice(_BYTE_DAMAGES)(chance, data, chance.choice(originals))
    return bytes(data)


def head_damaged(chance: Random, original: bytes, originals: Sequence[bytes]) -> bytes:
    """Numbers at the beginning of a file, where formats keep their sizes."""
    data = bytearray(original)
    for _ in range(chance.choice((1, 1, 2))):
        _number(chance, data, original, within=64)
    return bytes(data)


def cut_off(chance: Random, original: bytes, originals: Sequence[bytes]) -> bytes:
    """The beginning of a file."""
    return original[: chance.randrange(len(original) + 1)]


def text_damaged(chance: Random, original: bytes, originals: Sequence[bytes]) -> bytes:
    """Words and characters put into a text or taken out of it, or the text in another encoding."""
    if chance.random() < 0.05:
        return original.decode(errors="replace").encode(chance.choice(("utf-16", "utf-32", "utf-8-sig")))
    data = bytearray(original)
    for _ in range(chance.choice((1, 1, 2, 3))):
        start = chance.randrange(len(data) + 1)
        end = min(len(data), start + chance.choice((0, 0, 1, 1, 2, 8)))
        data[start:end] = chance.choice((*WORDS, b""))
    return bytes(data)


def json_damaged(chance: Random, original: bytes, originals: Sequence[bytes]) -> bytes:
    """A JSON document with other values, names or structure; still JSON, but for what JSON can't say."""
    return as_json(document_damaged(chance, json.loads(original)))


def as_json(document: Any) -> bytes:
    """The text of a document; a value "[deep]" becomes brackets too deep to be read."""
    return json.dumps(document).replace('"[deep]"', "[" * DEEP + "]" * DEEP).encode()


def document_damaged(chance: Random, document: Any) -> Any:
    """JSON values of which one to three are others, are gone, are doubled, or have other names."""
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        document = _value_damaged(chance, document)
    return document


def _value_damaged(chance: Random, value: Any) -> Any:
    """A copy in which one value is damaged, the deeper ones more often."""
    inside = isinstance(value, dict | list) and len(value) > 0
    if not inside or chance.random() < 0.15:
        return chance.choice(VALUES)
    if isinstance(value, list):
        place = chance.randrange(len(value))
        changed = [_value_damaged(chance, value[place])]
        new: list[Any] = chance.choice(([], value[place : place + 1] * 2, changed, changed, changed, changed))
        return [*value[:place], *new, *value[place + 1 :]]
    name = chance.choice(list(value))
    how = chance.randrange(8)
    if how == 0:
        return {key: each for key, each in value.items() if key != name}
    if how == 1:
        return {f"{key}_" if key == name else key: each for key, each in value.items()}
    if how == 2:
        return {**value, chance.choice(("", "x", "__class__", "format")): chance.choice(VALUES)}
    return {**value, name: _value_damaged(chance, value[name])}


def _flip(chance: Random, data: bytearray, other: bytes) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _byte(chance: Random, data: bytearray, other: bytes) -> None:
    if data:
        data[chance.randrange(len(data))] = chance.randrange(256)


def _number(chance: Random, data: bytearray, other: bytes, within: int | None = None) -> None:
    size = chance.choice((1, 2, 4, 8))
    if len(data) >= size:
        start = chance.randrange(min(len(data), within or len(data)) - size + 1)
        order = chance.choice(("little", "big"))
        data[start : start + size] = (chance.choice(NUMBERS) % 256**size).to_bytes(size, order)


def _cut(chance: Random, data: bytearray, other: bytes) -> None:
    del data[chance.randrange(len(data) + 1) :]


def _extend(chance: Random, data: bytearray, other: bytes) -> None:
    data += chance.choice((bytes(chance.randrange(1, 2000)), chance.randbytes(chance.randrange(1, 600)), bytes(other)))


def _delete(chance: Random, data: bytearray, other: bytes) -> None:
    start, end = _block(chance, data)
    del data[start:end]


def _double(chance: Random, data: bytearray, other: bytes) -> None:
    start, end = _block(chance, data)
    data[end:end] = data[start:end]


def _move(chance: Random, data: bytearray, other: bytes) -> None:
    start, end = _block(chance, data)
    block = data[start:end]
    del data[start:end]
    at = chance.randrange(len(data) + 1)
    data[at:at] = block


def _overwrite(chance: Random, data: bytearray, other: bytes) -> None:
    start, end = _block(chance, data)
    data[start:end] = chance.choice((bytes(end - start), b"\xff" * (end - start), chance.randbytes(end - start)))


def _splice(chance: Random, data: bytearray, other: bytes) -> None:
    """From somewhere on the file is another one of its kind."""
    data[chance.randrange(len(data) + 1) :] = other[chance.randrange(len(other) + 1) :]


def _block(chance: Random, data: bytearray) -> tuple[int, int]:
    start = chance.randrange(len(data) + 1)
    return start, min(len(data), start + chance.choice((1, 2, 4, 16, 64, 512, 1024)))


_BYTE_DAMAGES: tuple[Callable[[Random, bytearray, bytes], None], ...] = (
    *(_flip, _flip, _byte, _byte, _number, _number, _cut, _extend, _delete, _double, _move, _overwrite, _splice),
)
