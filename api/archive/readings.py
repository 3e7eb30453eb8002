"""Readings of a device, of which some months are only in the archive."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from api.archive.months import METERS, VEHICLES, Archive, RetiredMonth

COLUMNS: Final = {
    METERS: ("recorded_at", "kwh_consumed_ac", "voltage"),
    VEHICLES: ("recorded_at", "kwh_delivered_dc", "soc", "battery_temp"),
}
Rows = Sequence[Mapping[str, Any]]


async def readings_with_archive(
    archive: Archive,
    connection: Any,
    history: str,
    device: str,
    period: tuple[datetime, datetime],
    limit: int,
    read: Callable[[], Awaitable[Rows]],
) -> Rows:
    """The first `limit` readings of a device during a period in the order of instants, those of `read` and the archived ones.

    Raises:
        Gone: a month of the period is missing.
    """
    rows, retired = await archive.beside(connection, [history], *period, read)
    if not retired:
        return rows
    archived = await archive.run(lambda: _first_readings(archive, retired, history, device, period, limit))
    # The database's reading is preferred where both have one: it is the later one.
    merged = {row["recorded_at"]: row for row in (*archived, *rows)}
    return [merged[at] for at in sorted(merged)[:limit]]


def _first_readings(
    archive: Archive,
    months: Sequence[RetiredMonth],
    history: str,
    device: str,
    period: tuple[datetime, datetime],
    limit: int,
) -> list[dict[str, Any]]:
    from sql.archive.reader import readings_of  # noqa: PLC0415 - pyarrow is slow to load; only archives need it

    found: list[dict[str, Any]] = []
    for month in months:
        rows = readings_of(archive.directories(month), history, device, period, COLUMNS[history])
        found += rows.slice(0, limit - len(found)).to_pylist()
        if len(found) >= limit:
            break
    return found
