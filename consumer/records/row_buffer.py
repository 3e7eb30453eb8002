"""A buffer of decoded rows: in the order of arrival, by device, and each with its record."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from consumer.records.record import Record
from consumer.records.record_type import DEVICE, Row

Pair = tuple[Row, Record]


@dataclass(slots=True)
class RowBuffer:
    """Rows of one type. `records` holds the record of each row; `by_device` groups the same row objects.

    Methods identify rows by object identity, not by equality: two records may have equal rows.
    """

    rows: list[Row] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    by_device: dict[str, list[Row]] = field(default_factory=dict)

    def add(self, rows: list[Row], records: list[Record]) -> None:
        """Append rows, and the record of each row."""
        self.rows += rows
        self.records += records
        by_device = self.by_device
        for row in rows:
            of_device = by_device.get(row[DEVICE])
            if of_device is None:
                by_device[row[DEVICE]] = [row]
            else:
                of_device.append(row)

    def records_for(self, rows: Iterable[Row]) -> list[Record]:
        """The record of each of the given rows, in their order."""
        wanted = list(map(id, rows))
        if not wanted:
            return []
        missing = set(wanted)
        found = {id(row): record for row, record in self.pairs() if id(row) in missing}
        return [found[each] for each in wanted]

    def excluding(self, rows: Iterable[Row]) -> "RowBuffer":
        """A copy without the given rows."""
        excluded = set(map(id, rows))
        return buffer_of([(row, record) for row, record in self.pairs() if id(row) not in excluded])

    def pairs(self) -> list[Pair]:
        """Each row with its record."""
        return list(zip(self.rows, self.records, strict=True))


def buffer_of(pairs: Sequence[Pair]) -> RowBuffer:
    """A buffer of these rows and records."""
    buffer = RowBuffer()
    buffer.add([row for row, _ in pairs], [record for _, record in pairs])
    return buffer
