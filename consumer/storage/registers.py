"""Writer of register readings: stores cumulative registers, from which the database derives the intervals of meter history.

A late reading changes the interval after it as well and may reveal a reset, so the intervals that follow it are derived again.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

from consumer.records.record_type import DEVICE, RECORDED_AT, Row, TelemetryType, TypeWriteResult
from consumer.records.row_buffer import RowBuffer
from consumer.storage.readings import store_readings
from consumer.storage.row_writers import Connection, WriteContext
from sql.queries import queries

# New readings of a meter that are further apart belong to different stretches, so that a late and a current reading do not make
# the database derive everything in between.
MAX_GAP_IN_STRETCH: Final = timedelta(hours=1)
METERS_PER_STATEMENT: Final = 500  # of days that are folded, each takes some 20 ms
Stretch = tuple[datetime, datetime]  # the instants of its first and its last reading


async def write_registers(
    connection: Connection,
    telemetry_type: TelemetryType,
    buffer: RowBuffer,
    context: WriteContext,
    *,
    jitter_kwh: float,
) -> TypeWriteResult:
    """Write register readings and derive the intervals from them, with live status and late hours.

    Raises:
        asyncpg.UniqueViolationError: a reading taken for new is stored already; only without `check_duplicates`.
    """
    stored = await store_readings(connection, telemetry_type, buffer, context)
    for stretches in stretch_rounds(sorted(stored.new)):
        meters = iter(stretches.items())
        while portion := dict(islice(meters, METERS_PER_STATEMENT)):
            earliest, latest = map(list, zip(*portion.values(), strict=True))
            await queries.derive_intervals(
                connection, ids=list(portion), earliest=earliest, latest=latest, jitter=jitter_kwh
            )
    return stored.result


def stretch_rounds(rows: list[Row]) -> Iterator[dict[str, Stretch]]:
    """From sorted rows, the first stretch of every meter, then the second of the meters that have one, and so on."""
    stretches: dict[str, list[Stretch]] = {}
    for row in rows:
        of_meter, at = stretches.setdefault(row[DEVICE], []), row[RECORDED_AT]
        if of_meter and at - of_meter[-1][1] <= MAX_GAP_IN_STRETCH:
            of_meter[-1] = of_meter[-1][0], at
        else:
            of_meter.append((at, at))
    for number in range(max(map(len, stretches.values()), default=0)):
        yield {meter: found[number] for meter, found in stretches.items() if number < len(found)}
