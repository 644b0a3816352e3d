"""What a source of pictures is: it lists them in an order that stays, and reads those it is asked for."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple, Protocol

from bar_model.errors import BadInput
from pipeline.images.codec import BadImage


class ListedImage(NamedTuple):
    """A picture as it is listed: what tells it from others, and all that changes when it does."""

    key: str
    label: int
    size: int
    """Bytes, 0 where the listing does not know."""
    version: str
    """Of the stored file that the picture is, or lies in: ETag or time."""
    at: int = 0
    """Where in that file: a row, or a place."""
    problem: str = ""
    """Why it can't be used, where the listing knows already."""
    again: int = 0
    """How many pictures of this key come before it."""

    @property
    def name(self) -> str:
        """The key; that of a doubled one says so, and is unique as well."""
        return f"{self.key} (again: {self.again})" if self.again else self.key


class StoredImage(NamedTuple):
    """A picture as it is stored, or why it can't be had; `key` is unique and stable within its source."""

    key: str
    label: int
    where: str
    data: bytes | BadImage


class Source(Protocol):
    """Pictures with labels. To add one: list, read, and a line in sources.py."""

    @property
    def identity(self) -> dict[str, Any]:
        """What tells this source from another (JSON values): part of the configuration that makes the codes."""
        ...

    def listing(self) -> Iterator[ListedImage]:
        """All pictures, streamed, in `order`; BadInput where a label is missing from the map or out of range."""
        ...

    def read(self, pictures: Sequence[ListedImage]) -> Iterator[StoredImage]:
        """These pictures, wherever it runs; those without a `problem` only."""
        ...


def order(picture: ListedImage) -> tuple[list[str], int]:
    """What pictures are listed by: folder by folder, names in the order of their characters."""
    return picture.key.split("/"), picture.again


def count_doubled(pictures: Iterable[ListedImage]) -> Iterator[ListedImage]:
    """Of several pictures of a key, all but the first are marked as a problem; these must come one after the other."""
    previous, again = None, 0
    for picture in pictures:
        again = again + 1 if picture.key == previous else 0
        previous = picture.key
        yield picture._replace(problem="has the key of another picture", again=again) if again else picture


def in_portions(pictures: Iterable[ListedImage], size: int) -> Iterator[list[ListedImage]]:
    """So many at a time."""
    rest = iter(pictures)
    while portion := list(islice(rest, size)):
        yield portion


def read_all(source: Source, pictures: Sequence[ListedImage]) -> Iterator[StoredImage]:
    """`source.read`, with what the listing found wrong in its place."""
    sound = source.read([picture for picture in pictures if not picture.problem])
    for picture in pictures:
        if picture.problem:
            yield StoredImage(picture.name, picture.label, picture.name, BadImage(picture.problem))
        else:
            yield next(sound)


@dataclass(frozen=True, kw_only=True)
class LabelMap:
    """What a label may be: a number below `num_classes`, or a name that `classes` knows."""

    classes: Mapping[str, int] | None = None
    num_classes: int | None = None

    @property
    def identity(self) -> dict[str, Any]:
        return {"classes": dict(self.classes) if self.classes is not None else None}

    def of(self, given: object, where: str) -> int:
        """The label; BadInput where there is none, or it is out of range."""
        if self.classes is not None and str(given) in self.classes:
            label = self.classes[str(given)]
        elif isinstance(given, str) and not given.strip().isdecimal():
            raise BadInput(f"{where}: the class map has no label for {given!r}: add it with --classes FILE.json")
        elif isinstance(given, str | int) and not isinstance(given, bool):
            label = int(given)
        else:
            raise BadInput(f"{where}: {given!r} is no label: a class number or a name of the class map is expected")
        if not 0 <= label < (2**31 if self.num_classes is None else self.num_classes):
            limit = "" if self.num_classes is None else f" to {self.num_classes - 1}"
            raise BadInput(f"{where}: label {label} is out of range: labels are 0{limit or ' or more'}")
        return label
