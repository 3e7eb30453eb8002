"""What this process knows of the newest reading of each device: a hint that lets most rows take the fast way in.

The primary key decides what is a duplicate. A wrong hint costs a second attempt, never a reading.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from operator import itemgetter, lt
from typing import Any, Final

from consumer.records.record_type import DEVICE, RECORDED_AT, RecordType, Row, TelemetryType

DEVICES_LIMIT: Final = 2_000_000
_recorded_at: Final = itemgetter(RECORDED_AT)


@dataclass(slots=True)
class SplitRows:
    """Rows parted into those newer than anything stored of their device and those that may be stored already.

    Both are sorted by identity, copies of one reading by arrival. `newest` holds the newest fresh row of each device, `oldest` is
    the instant of the oldest fresh row.
    """

    fresh: list[Row] = field(default_factory=list)
    possible_duplicates: list[Row] = field(default_factory=list)
    newest: list[Row] = field(default_factory=list)
    oldest: datetime | None = None


class NewestReadings:
    """The newest reading known of each device, kind by kind."""

    def __init__(self) -> None:
        self._newest: dict[RecordType, dict[str, datetime]] = {}

    async def part(
        self, connection: Any, telemetry_type: TelemetryType, by_device: Mapping[str, list[Row]]
    ) -> SplitRows:
        """Rows by device and in the order of arrival, parted by what is known; what is not is asked first."""
        known = self._newest.setdefault(telemetry_type, {})
        strangers = list(by_device.keys() - known.keys())
        if strangers:
            known.update({row[0]: row[1] async for row in telemetry_type.newest(connection, ids=strangers)})
        return part(by_device, known)

    def learn(self, record_type: RecordType, rows: list[Row]) -> None:
        """Remember rows that are committed now."""
        known = self._newest.setdefault(record_type, {})
        if len(known) > DEVICES_LIMIT:
            known.clear()
        for row in rows:
            before = known.get(row[DEVICE])
            if before is None or row[RECORDED_AT] > before:
                known[row[DEVICE]] = row[RECORDED_AT]


def part(by_device: Mapping[str, list[Row]], newest: Mapping[str, datetime]) -> SplitRows:
    """Rows by device and in the order of arrival, parted by whether they are newer than all before them."""
    parted = SplitRows()
    fresh, of_each, oldest = parted.fresh, parted.newest, parted.oldest
    for device in sorted(by_device):
        rows, bound = by_device[device], newest.get(device)
        if (bound is not None and rows[0][RECORDED_AT] <= bound) or not _ascend(rows):
            rows = _certainly_new(rows, bound, parted.possible_duplicates)
            if not rows:
                continue
        fresh += rows
        of_each.append(rows[-1])
        if oldest is None or rows[0][RECORDED_AT] < oldest:
            oldest = rows[0][RECORDED_AT]
    parted.oldest = oldest
    return parted


def in_order(by_device: Mapping[str, list[Row]]) -> list[Row]:
    """All rows, sorted by identity, copies of one reading by arrival."""
    return [row for device in sorted(by_device) for row in sorted(by_device[device], key=_recorded_at)]


def _ascend(rows: list[Row]) -> bool:
    times = list(map(_recorded_at, rows))
    return all(map(lt, times, times[1:]))


def _certainly_new(rows: list[Row], bound: datetime | None, possible_duplicates: list[Row]) -> list[Row]:
    """The rows of one device that are newer than all before them; the others go to `possible_duplicates`."""
    fresh = []
    for row in sorted(rows, key=_recorded_at):
        if bound is None or row[RECORDED_AT] > bound:
            fresh.append(row)
            bound = row[RECORDED_AT]
        else:
            possible_duplicates.append(row)
    return fresh
