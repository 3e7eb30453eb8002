"""What this process knows of the newest reading of each device: a hint that lets most rows take the fast way in.

The primary key decides what is a duplicate. A wrong hint costs a second attempt, never a reading.
"""

from datetime import datetime
from typing import Any, Final

from consumer.kind import DEVICE, RECORDED_AT, Kind, Row
from consumer.telemetry import Telemetry

DEVICES_LIMIT: Final = 2_000_000


class NewestReadings:
    """The newest reading known of each device, kind by kind."""

    def __init__(self) -> None:
        self._newest: dict[Kind, dict[str, datetime]] = {}

    async def split(self, connection: Any, telemetry: Telemetry, rows: list[Row]) -> tuple[list[Row], list[Row]]:
        """Sorted rows, parted into those newer than anything stored of their device and those that may be stored already."""
        known = self._newest.setdefault(telemetry, {})
        strangers = list({row[DEVICE] for row in rows}.difference(known))
        if strangers:
            known.update({row[0]: row[1] async for row in telemetry.newest(connection, ids=strangers)})
        return part(rows, known)

    def learn(self, kind: Kind, rows: list[Row]) -> None:
        """Remember rows that are committed now."""
        known = self._newest.setdefault(kind, {})
        if len(known) > DEVICES_LIMIT:
            known.clear()
        for row in rows:
            before = known.get(row[DEVICE])
            if before is None or row[RECORDED_AT] > before:
                known[row[DEVICE]] = row[RECORDED_AT]


def part(rows: list[Row], newest: dict[str, datetime]) -> tuple[list[Row], list[Row]]:
    """Sorted rows, parted by whether they are newer than all before them: (certainly new, doubtful)."""
    fresh: list[Row] = []
    doubtful: list[Row] = []
    device: str | None = None
    bound: datetime | None = None
    for row in rows:
        if row[DEVICE] != device:
            device = row[DEVICE]
            bound = newest.get(row[DEVICE])
        if bound is None or row[RECORDED_AT] > bound:
            fresh.append(row)
            bound = row[RECORDED_AT]
        else:
            doubtful.append(row)
    return fresh, doubtful
