"""Readings of registers -> their own history -> intervals in the history of meters, which the database derives.

A late reading changes the interval after it as well, and may show a reset where there was none: what follows is derived again.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from consumer.records.record_type import DEVICE, RECORDED_AT, Row, TelemetryType, TypeWriteResult
from consumer.records.rows import RowBuffer
from consumer.storage.readings import store_readings
from consumer.storage.row_writers import Connection, WriteContext
from sql.queries import queries

# New readings of a meter that lie further apart are two stretches: a late one and one of now must not make the database go
# through everything in between.
ONE_STRETCH: Final = timedelta(hours=1)
Stretch = tuple[datetime, datetime]  # the instants of its first and its last reading


async def write_registers(
    connection: Connection,
    telemetry_type: TelemetryType,
    buffer: RowBuffer,
    context: WriteContext,
    *,
    jitter_kwh: float,
) -> TypeWriteResult:
    """Write readings of registers, and what follows from them; live status and late hours go with the intervals.

    Raises:
        asyncpg.UniqueViolationError: a row believed new is stored already; only when not cautious.
    """
    stored = await store_readings(connection, telemetry_type, buffer, context)
    for meters in in_turns(sorted(stored.new)):
        earliest, latest = map(list, zip(*meters.values(), strict=True))
        await queries.derive_intervals(
            connection, ids=list(meters), earliest=earliest, latest=latest, jitter=jitter_kwh
        )
    return stored.written


def in_turns(rows: list[Row]) -> Iterator[dict[str, Stretch]]:
    """The first stretch of each meter, then the second of those that have one, and so on: of sorted rows."""
    stretches: dict[str, list[Stretch]] = {}
    for row in rows:
        of_meter, at = stretches.setdefault(row[DEVICE], []), row[RECORDED_AT]
        if of_meter and at - of_meter[-1][1] <= ONE_STRETCH:
            of_meter[-1] = of_meter[-1][0], at
        else:
            of_meter.append((at, at))
    for turn in range(max(map(len, stretches.values()), default=0)):
        yield {meter: found[turn] for meter, found in stretches.items() if turn < len(found)}
