"""What a source of images is: it lists its images in a fixed order, and reads those that are named to it."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple, Protocol

from pipeline.images.codec import BadImage
from pipeline.images.left_out import LeftOut

READS_AT_ONCE = 16
READ_AHEAD_BYTES = 64 << 20


class ListedImage(NamedTuple):
    """An image as its source lists it: its key and label, and what changes when the image changes."""

    key: str
    label: int
    size: int
    """Size in bytes, 0 where the listing does not know it."""
    version: str
    """ETag or time of the stored file that the image is, or lies in."""
    at: int = 0
    """Where in that file the image lies: a row, or a byte."""
    problem: str = ""
    """Why it can't be used, if the listing knows already. Plans hold these texts, so that they never change."""
    again: int = 0
    """How many images of the same key come before it."""

    @property
    def name(self) -> str:
        """The key, made unique for an image whose key another image has."""
        return f"{self.key} (again: {self.again})" if self.again else self.key


class StoredImage(NamedTuple):
    """The bytes of an image, or why they can't be read. `key` is unique and stable within its source."""

    key: str
    label: int
    where: str
    data: bytes | BadImage


class Source(Protocol):
    """Images with labels. A new kind of source implements this and has a line in `open_source.FILES`."""

    @property
    def identity(self) -> dict[str, Any]:
        """What distinguishes this source from others (JSON values): part of the configuration of codes."""
        ...

    def listing(self, left_out: LeftOut | None = None) -> Iterator[ListedImage]:
        """All images, streamed, in `listing_order`; `left_out` counts what is stored there but is no image.

        Raises:
            BadInput: a label is missing from the class map or out of range.
        """
        ...

    def read(self, listed: Sequence[ListedImage]) -> Iterator[StoredImage]:
        """The bytes of these images, of which none may have a `problem`; runs on any machine of the cluster."""
        ...


class SummedUpSource(Source, Protocol):
    """A source that says in one line what it is, before anything is listed."""

    @property
    def summary(self) -> str:
        """Where the images lie, and by which rules they get their labels."""
        ...


def read_ahead(read: Callable[[ListedImage], StoredImage], listed: Sequence[ListedImage]) -> Iterator[StoredImage]:
    """The images in their order, several read at once, as far as `READ_AHEAD_BYTES` or one image of any size go."""
    under_way: deque[tuple[int, Future[StoredImage]]] = deque()
    with ThreadPoolExecutor(READS_AT_ONCE) as pool:
        held = 0
        for image in listed:
            while under_way and (held + image.size > READ_AHEAD_BYTES or len(under_way) >= 2 * READS_AT_ONCE):
                size, first = under_way.popleft()
                yield first.result()
                held -= size
            under_way.append((image.size, pool.submit(read, image)))
            held += image.size
        while under_way:
            yield under_way.popleft()[1].result()


def listing_order(image: ListedImage) -> tuple[list[str], int]:
    """The sort key of listings: folder by folder, names in the order of their characters."""
    return image.key.split("/"), image.again


def count_doubled(listed: Iterable[ListedImage]) -> Iterator[ListedImage]:
    """Marks all but the first image of a key as a problem. Images of one key must come one after the other."""
    previous, again = None, 0
    for image in listed:
        again = again + 1 if image.key == previous else 0
        previous = image.key
        yield image._replace(problem="has the key of another picture", again=again) if again else image


def in_portions(listed: Iterable[ListedImage], size: int) -> Iterator[list[ListedImage]]:
    """Lists of `size` images at a time, of which the last may be shorter."""
    rest = iter(listed)
    while portion := list(islice(rest, size)):
        yield portion


def read_all(source: Source, listed: Sequence[ListedImage]) -> Iterator[StoredImage]:
    """All of these images in their order, those with a `problem` as bad images."""
    sound = source.read([image for image in listed if not image.problem])
    for image in listed:
        if image.problem:
            yield StoredImage(image.name, image.label, image.name, BadImage(image.problem))
        else:
            yield next(sound)
