"""A tracking server in memory."""

from pipeline.tracking.spool import Record


class Inbox:
    """A server that keeps what it gets, and can be unreachable."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.is_unreachable = False

    def deliver(self, records: list[Record]) -> list[Record]:
        """Keeps the records, or raises ConnectionError."""
        if self.is_unreachable:
            raise ConnectionError("no answer")
        self.records += records
        return []

    @property
    def numbers(self) -> list[int]:
        """The numbers in the records so far, in order."""
        return [record["number"] for record in self.records if "number" in record]
