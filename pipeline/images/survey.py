"""A source whose listing says at its end what it saw: images, labels, and what it left out and why."""

from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.images.left_out import LeftOut
from pipeline.images.source import ListedImage, Source, StoredImage

LABELS_SHOWN, MOST_LABELS = 5, 1_000_000


class SurveyedSource:
    """Another source, whose listing prints a line at its end; the same line is printed once."""

    def __init__(self, source: Source, url: str) -> None:
        self.source, self._url = source, url
        self._said = ""

    @property
    def identity(self) -> dict[str, Any]:
        """What distinguishes the source from others, as JSON values."""
        return self.source.identity

    def listing(self, left_out: LeftOut | None = None) -> Iterator[ListedImage]:
        """All images, streamed, in `listing_order`.

        Raises:
            BadInput: a label is missing from the class map or out of range.
        """
        left_out = LeftOut() if left_out is None else left_out
        labels: set[int] = set()
        num = num_bad = 0
        for image in self.source.listing(left_out):
            if image.problem:
                num_bad += 1
            elif len(labels) < MOST_LABELS:
                labels.add(image.label)
            num += 1
            yield image
        self._say(f"{self._url}: {num:,} images{_text(labels, num_bad)}; left out: {left_out or 'nothing'}")

    def read(self, listed: Sequence[ListedImage]) -> Iterator[StoredImage]:
        """The bytes of these images."""
        return self.source.read(listed)

    def _say(self, line: str) -> None:
        if line != self._said:
            self._said = line
            print(line, flush=True)


def _text(labels: set[int], num_bad: int) -> str:
    if not labels:
        return f", {num_bad:,} of them unusable" if num_bad else ""
    first = ", ".join(map(str, sorted(labels)[:LABELS_SHOWN])) + (", …" if len(labels) > LABELS_SHOWN else "")
    many = " or more" if len(labels) == MOST_LABELS else ""
    return f" of {len(labels):,}{many} labels ({first})" + (f", {num_bad:,} of them unusable" if num_bad else "")
