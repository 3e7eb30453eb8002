"""Hours whose rollups late readings invalidate, so that the next refresh computes them again."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from consumer.records.record_type import DEVICE, RECORDED_AT, Row
from consumer.storage.row_writers import Watermarks

EVERY_DEVICE: Final = ""
# An hour with late readings of more devices is marked for all devices. A backlog changes whole hours, and one mark for each
# device and batch would be nearly as many rows as readings.
DEVICES_PER_HOUR: Final = 1000


def late_hours(rows: Iterable[Row], watermarks: Watermarks) -> list[tuple[str, datetime]]:
    """(device id or EVERY_DEVICE, beginning of the hour) for each rolled-up hour that these rows have changed.

    Late readings of folded days need no mark: they stand apart from the readings of their hour until they are merged.
    """
    begin, end = watermarks.folding_before, watermarks.late_before
    changed = {
        (row[DEVICE], int(row[RECORDED_AT].timestamp()) // 3600) for row in rows if begin <= row[RECORDED_AT] < end
    }
    hours = {hour for _, hour in changed}
    if len(changed) > DEVICES_PER_HOUR * len(hours):
        changed = {(EVERY_DEVICE, hour) for hour in hours}
    return sorted((device, datetime.fromtimestamp(hour * 3600, UTC)) for device, hour in changed)
