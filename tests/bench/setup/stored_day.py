"""Databases that already hold a day of readings, laid out on disk as a day of live ingestion would leave them."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pydantic import SecretStr

from sql.connection import connect
from sql.maintenance.rollups import refresh_rollups
from sql.maintenance.scheduler import FREQUENT_SESSION
from tests.bench.setup.harness import Harness
from tests.support.database import Database

DAY: Final = timedelta(hours=24)
MINUTES: Final = 1440  # readings of each device
ROLLUP_GRACE: Final = timedelta(minutes=10)
# Rows are inserted minute by minute: the 1,440 readings of a vehicle lie on as many pages, as after a day of live ingestion.
INSERT_READINGS: Final = (
    """
INSERT INTO meter_telemetry_history (meter_id, recorded_at, kwh_consumed_ac, voltage)
SELECT 'METER-' || device, minute + (device * 17 % 60000) * interval '1 ms', random() * 2, 235 + random() * 10
FROM generate_series($1::timestamptz, $2, '1 minute') AS minute, generate_series(1, $3::integer) AS device""",
    """
INSERT INTO vehicle_telemetry_history (vehicle_id, recorded_at, kwh_delivered_dc, soc, battery_temp)
SELECT 'VEH-' || device, minute + (device * 17 % 60000) * interval '1 ms', random() * 2, random() * 100, 20 + random() * 10
FROM generate_series($1::timestamptz, $2, '1 minute') AS minute, generate_series(1, $3::integer) AS device""",
)
INSERT_LIVE_STATUS: Final = (
    "INSERT INTO meter_live_status SELECT 'METER-' || n, 1, 240, $1, now() FROM generate_series(1, $2::integer) AS n",
    "INSERT INTO vehicle_live_status SELECT 'VEH-' || n, 50, 1, 25, $1, now() FROM generate_series(1, $2::integer) AS n",
)
INSERT_ASSIGNMENTS: Final = """
INSERT INTO vehicle_meter_assignments
SELECT 'VEH-' || device, 'METER-' || device, '[2020-01-01,)', 'bench' FROM generate_series(1, $1::integer) AS device"""


@contextmanager
def stored_day(harness: Harness, vehicles: int, end: datetime) -> Iterator[Database]:
    """A database with the readings and rollups of the 24 hours before `end`, of `vehicles` vehicles and as many meters."""
    with harness.empty_database() as database:
        asyncio.run(_fill(harness, database, vehicles, end))
        yield database


def current_minute() -> datetime:
    return datetime.now(UTC).replace(second=0, microsecond=0)


async def insert_day(
    harness: Harness, connection: Any, vehicles: int, end: datetime, *, live_status: bool = True
) -> None:
    """Insert the readings of the 24 hours before `end`, live status if asked for, and assignments; then VACUUM ANALYZE."""
    for hour in range(24):
        start = end - DAY + timedelta(hours=hour)
        for statement in INSERT_READINGS:
            await connection.execute(statement, start, start + timedelta(minutes=59), vehicles)
        if hour % 6 == 5:
            harness.log_progress(f"{(hour + 1) * 60 * 2 * vehicles:,} of {MINUTES * 2 * vehicles:,} readings inserted")
    for statement in INSERT_LIVE_STATUS if live_status else ():
        await connection.execute(statement, end, vehicles)
    await connection.execute(INSERT_ASSIGNMENTS, vehicles)
    await connection.execute("VACUUM ANALYZE")


async def _fill(harness: Harness, database: Database, vehicles: int, end: datetime) -> None:
    connection = await connect(SecretStr(database.migrator_url), server_settings=FREQUENT_SESSION)
    try:
        await insert_day(harness, connection, vehicles, end)
        await refresh_rollups(connection, end, grace=ROLLUP_GRACE)
    finally:
        await connection.close()
