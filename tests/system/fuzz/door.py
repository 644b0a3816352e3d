"""A door: real files of one kind, how they are damaged, and the way by which a job reads them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

Damage = Callable[[Random, bytes, Sequence[bytes]], bytes]
"""A damaged file, from chance, a real file, and all real files of its kind."""


class Loss(Exception):
    """Something vanished or changed, and nothing was said."""


class Door(NamedTuple):
    """A reader with its files. `enter` reads a damaged file of which the original is known, and counts what it got.

    `enter` raises BadInput or BadImage for what is refused, and `Loss` if the answer hides a damage.
    """

    originals: Sequence[bytes]
    damage: Damage
    enter: Callable[[bytes, bytes], int]


MakeDoor = Callable[[Path], Door]
"""Makes a door ready in a folder of its own."""


def of_several(*ways: Damage) -> Damage:
    """One of these ways to damage a file, each as often."""

    def damage(chance: Random, original: bytes, originals: Sequence[bytes]) -> bytes:
        return chance.choice(ways)(chance, original, originals)

    return damage


def demand(is_so: bool, what: str) -> None:
    """Raises `Loss` unless it is so."""
    if not is_so:
        raise Loss(what)
