"""What the listing of a source leaves out, counted by reason: nothing is left out without a word."""

from collections import Counter, defaultdict

NAMES_SHOWN, MOST_REASONS = 3, 20
OTHER = "for other reasons"


class LeftOut:
    """Counts what is no image of a source, and keeps the first names of each reason; its text is part of one line.

    A reason stands behind the number: "3 ending in .txt", "1 dangling link". Only a few names are held in memory.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._names: defaultdict[str, list[str]] = defaultdict(list)

    def __bool__(self) -> bool:
        return bool(self._counts)

    def __str__(self) -> str:
        return "; ".join(
            f"{num:,} {reason} ({', '.join(map(printable, self._names[reason]))}{', …' * (num > NAMES_SHOWN)})"
            for reason, num in self._counts.most_common()
        )

    def __getitem__(self, reason: str) -> int:
        return self._counts[reason]

    def add(self, reason: str, name: str) -> None:
        """Counts what is left out under this name."""
        if reason not in self._counts and len(self._counts) >= MOST_REASONS:
            reason = OTHER
        self._counts[reason] += 1
        if self._counts[reason] <= NAMES_SHOWN:
            self._names[reason].append(name)

    def update(self, later: "LeftOut") -> None:
        """Adds what another listing has counted, as if it had been counted here next."""
        for reason, num in later._counts.items():
            names = later._names[reason]
            for name in names:
                self.add(reason, name)
            self._counts[reason if reason in self._counts else OTHER] += num - len(names)


def printable(name: str) -> str:
    """A name as one line that any terminal shows: line breaks, and bytes that are no UTF-8, as escapes."""
    return name if name.isprintable() else repr(name)[1:-1]
