"""Rows as they came: in their order, by device, and each with the record it was."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from consumer.records.record_type import DEVICE, Row


@dataclass(slots=True)
class RowBuffer:
    """Rows of one kind in the order of arrival; `records` holds the record of each, `by_device` the same rows by device.

    Rows are found again by what they are in memory, not by what they say: two records may say the same.
    """

    rows: list[Row] = field(default_factory=list)
    records: list[Any] = field(default_factory=list)
    by_device: dict[str, list[Row]] = field(default_factory=dict)

    def add(self, rows: list[Row], records: list[Any]) -> None:
        """Take rows that have come after those that are here, and the record of each."""
        self.rows += rows
        self.records += records
        by_device = self.by_device
        for row in rows:
            try:
                by_device[row[DEVICE]].append(row)
            except KeyError:
                by_device[row[DEVICE]] = [row]

    def records_for(self, rows: Iterable[Row]) -> list[Any]:
        """The record of each of these rows."""
        wanted = list(map(id, rows))
        if not wanted:
            return []
        missing = set(wanted)
        found = {id(row): record for row, record in zip(self.rows, self.records, strict=True) if id(row) in missing}
        return [found[each] for each in wanted]

    def excluding(self, rows: Iterable[Row]) -> "RowBuffer":
        """All but these rows."""
        left_out = set(map(id, rows))
        return _of((row, record) for row, record in self._pairs() if id(row) not in left_out)

    def split(self) -> "tuple[RowBuffer, RowBuffer]":
        """The first half of the rows, and the rest."""
        pairs = list(self._pairs())
        middle = len(pairs) // 2
        return _of(pairs[:middle]), _of(pairs[middle:])

    def _pairs(self) -> Iterable[tuple[Row, Any]]:
        return zip(self.rows, self.records, strict=True)


def _of(pairs: Iterable[tuple[Row, Any]]) -> RowBuffer:
    buffer = RowBuffer()
    rows, records = map(list, zip(*pairs, strict=True)) if (pairs := list(pairs)) else ([], [])
    buffer.add(rows, records)
    return buffer
