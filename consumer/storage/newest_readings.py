"""A cache of the newest reading of each device: most rows are newer and can be written without a check for duplicates.

The cache is a hint, and the primary key decides what is stored already: a wrong hint costs a second attempt, never a reading.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from operator import itemgetter, lt
from typing import Any, Final

from consumer.records.record_type import DEVICE, RECORDED_AT, RecordType, Row, TelemetryType

DEVICES_LIMIT: Final = 2_000_000
_recorded_at: Final = itemgetter(RECORDED_AT)


@dataclass(slots=True)
class SplitRows:
    """Rows split into those newer than any stored reading of their device, and those that may be stored already.

    Both are sorted by device and instant; copies of one reading stay in the order of arrival. `newest` holds the newest of the
    new rows of each device, `oldest` the instant of the oldest new row.
    """

    new: list[Row] = field(default_factory=list)
    possible_duplicates: list[Row] = field(default_factory=list)
    newest: list[Row] = field(default_factory=list)
    oldest: datetime | None = None

    def take_older(self, instant: datetime) -> list[Row]:
        """Remove the rows before an instant, and return them in the same order: of copies, the first to arrive is first."""
        older = [row for row in self.possible_duplicates if row[RECORDED_AT] < instant]
        if older:
            self.possible_duplicates = [row for row in self.possible_duplicates if row[RECORDED_AT] >= instant]
        if self.oldest is not None and self.oldest < instant:
            older = [*(row for row in self.new if row[RECORDED_AT] < instant), *older]
            self.new = [row for row in self.new if row[RECORDED_AT] >= instant]
            self.newest = [row for row in self.newest if row[RECORDED_AT] >= instant]
            self.oldest = min(map(_recorded_at, self.new), default=None)
        return sorted(older, key=itemgetter(DEVICE, RECORDED_AT))


class NewestReadings:
    """The instant of the newest reading of each device, by record type."""

    def __init__(self) -> None:
        self._newest: dict[RecordType, dict[str, datetime]] = {}

    async def split(
        self, connection: Any, telemetry_type: TelemetryType, by_device: Mapping[str, list[Row]]
    ) -> SplitRows:
        """Split rows, given by device in the order of arrival. Devices that are not cached are looked up in the database."""
        cached = self._newest.setdefault(telemetry_type, {})
        devices = sorted(by_device)
        bounds = list(map(cached.get, devices))
        missing = [device for device, bound in zip(devices, bounds, strict=True) if bound is None]
        if missing:
            found = {row[DEVICE]: row[RECORDED_AT] async for row in telemetry_type.newest(connection, ids=missing)}
            if found:
                cached.update(found)
                bounds = list(map(cached.get, devices))
        return split_rows(by_device, devices, bounds)

    def update(self, committed: Mapping[RecordType, list[Row]]) -> None:
        """Cache the newest rows of a committed batch."""
        for record_type, rows in committed.items():
            cached = self._newest.setdefault(record_type, {})
            if len(cached) > DEVICES_LIMIT:
                cached.clear()
            for row in rows:
                device, recorded_at = row[DEVICE], row[RECORDED_AT]
                before = cached.get(device)
                if before is None or recorded_at > before:
                    cached[device] = recorded_at


def split_rows(
    by_device: Mapping[str, list[Row]], devices: Iterable[str], newest: Iterable[datetime | None]
) -> SplitRows:
    """Split rows, given by device in the order of arrival, by whether they are newer than all rows before them.

    Args:
        by_device: the rows.
        devices: all devices, in the order of the result.
        newest: the instant of the newest stored reading of each of them; None when there is none.
    """
    split = SplitRows()
    new, newest_of_each, oldest = split.new, split.newest, split.oldest
    for device, bound in zip(devices, newest, strict=True):
        rows = by_device[device]
        first = rows[0][RECORDED_AT]
        if (bound is not None and first <= bound) or not _ascend(rows):
            rows = _new_rows(rows, bound, split.possible_duplicates)
            if not rows:
                continue
            first = rows[0][RECORDED_AT]
        new += rows
        newest_of_each.append(rows[-1])
        if oldest is None or first < oldest:
            oldest = first
    split.oldest = oldest
    return split


def in_order(by_device: Mapping[str, list[Row]]) -> list[Row]:
    """All rows, sorted by device and instant; copies of one reading stay in the order of arrival."""
    return [row for device in sorted(by_device) for row in sorted(by_device[device], key=_recorded_at)]


def _ascend(rows: list[Row]) -> bool:
    if len(rows) == 1:
        return True
    times = list(map(_recorded_at, rows))
    return all(map(lt, times, times[1:]))


def _new_rows(rows: list[Row], bound: datetime | None, possible_duplicates: list[Row]) -> list[Row]:
    """The rows of one device that are newer than all before them; appends the others to `possible_duplicates`."""
    new = []
    for row in sorted(rows, key=_recorded_at):
        if bound is None or row[RECORDED_AT] > bound:
            new.append(row)
            bound = row[RECORDED_AT]
        else:
            possible_duplicates.append(row)
    return new
