"""Whether images whose times or ETags have changed still hold what was encoded: their bytes decide."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from pipeline.codes.encoded import EncodedUnits
from pipeline.execution.progress import Progress
from pipeline.execution.unit import Unit
from pipeline.images.codec import BadImage
from pipeline.images.read import NO_DIGEST, content_digest
from pipeline.images.source import ListedImage, Source


class Doubt(NamedTuple):
    """An image as it is listed now, and where it was encoded when it had another time or ETag."""

    listed: ListedImage
    unit: Unit
    place: int
    """The image's place in the unit."""


class Verdict(NamedTuple):
    """Whether the contents are the same, and if not, why it is not known that they are."""

    is_same: bool
    why: str = "has changed"
    was_unread: bool = False
    """Whether nothing was read of the image when it was to be encoded, so that there is nothing to compare with."""


class ContentComparison:
    """Reads images in doubt and compares them with the digests in the shards; shows how far it is.

    Use it as a context manager: the display ends with the block. `total` is the number of images that were encoded.
    """

    def __init__(self, source: Source, encoded: EncodedUnits, total: int) -> None:
        self._source, self._encoded, self._total = source, encoded, total
        self._display = ExitStack()
        self._progress: Progress | None = None
        self._num_compared = 0

    def __enter__(self) -> "ContentComparison":
        return self

    def __exit__(self, *error: object) -> None:
        self._display.close()

    def verdicts(self, doubts: Sequence[Doubt]) -> Iterator[Verdict]:
        """A verdict on each image, in order. Images are read a portion at a time, several at once."""
        encoded = [self._encoded.digest(doubt.unit, doubt.place) for doubt in doubts]
        readable = [
            doubt.listed for doubt, digest in zip(doubts, encoded, strict=True) if digest not in (b"", NO_DIGEST)
        ]
        stored = self._source.read(readable)
        for digest in encoded:
            if digest == b"":
                yield Verdict(False, "has changed, or only its time (its shard keeps no digest of what it held)")
            elif digest == NO_DIGEST:
                yield Verdict(False, was_unread=True)
            else:
                data = next(stored).data
                self._count()
                why = f"can't be compared ({data})" if isinstance(data, BadImage) else "has changed"
                yield Verdict(content_digest(data) == digest, why)

    def _count(self) -> None:
        if self._progress is None:
            self._progress = self._display.enter_context(
                Progress("compare contents, as times or ETags have changed", "images", total=self._total)
            )
        self._num_compared += 1
        self._progress.show(self._num_compared)
