"""A database of a large fleet, filled by SQL: hourly sums of a day, the readings since, live status and assignments.

Nine of ten vehicles charge for four hours a day; two in a hundred lose 22 % of the energy, two 12 %, the others 5 to 9 %.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pydantic import SecretStr

from sql.connection import connect
from sql.maintenance.scheduler import FREQUENT_SESSION
from tests.bench.setup.harness import Harness
from tests.bench.setup.stored_day import DAY, INSERT_ASSIGNMENTS, ROLLUP_GRACE
from tests.support.database import Database

HOUR: Final = timedelta(hours=1)
MINUTE: Final = timedelta(minutes=1)
MINUTES_OF_RUNS: Final = 10 * MINUTE  # are not in the future, either: each run judges one minute more
# kWh of a meter in the minute that begins at `at`; the share of it that reaches the battery, a number of the device, 0 to 1.
DICE: Final = "((hashint4(device) & 65535) / 65536.0)"
AC_KWH: Final = f"""CASE WHEN device % 10 > 0 AND (device / 10 + extract(epoch FROM at)::bigint / 3600) % 6 = 0
    THEN 0.1 + 0.2 * {DICE} ELSE 0 END"""
EFFICIENCY: Final = f"CASE device % 50 WHEN 1 THEN 0.78 WHEN 2 THEN 0.88 ELSE 0.91 + 0.04 * {DICE} END"
TEMPERATURE: Final = f"20 + 10 * {DICE} + extract(hour FROM at) / 10"
INSERT_SUMS: Final = (
    f"""
INSERT INTO meter_energy_hourly (meter_id, hour, kwh_consumed_ac, readings)
SELECT 'METER-' || device, at, 60 * {AC_KWH}, 60
FROM generate_series($1::timestamptz, $2, '1 hour') AS at, generate_series(1, $3::integer) AS device""",
    f"""
INSERT INTO vehicle_energy_hourly
    (vehicle_id, hour, kwh_delivered_dc, battery_temp_sum, battery_temp_max, soc_min, soc_max, readings)
SELECT 'VEH-' || device, at, 60 * {AC_KWH} * {EFFICIENCY}, 60 * ({TEMPERATURE}), {TEMPERATURE}, 50, 50, 60
FROM generate_series($1::timestamptz, $2, '1 hour') AS at, generate_series(1, $3::integer) AS device""",
)
INSERT_READINGS: Final = (
    f"""
INSERT INTO meter_telemetry_history (meter_id, recorded_at, kwh_consumed_ac, voltage)
SELECT 'METER-' || device, at + (device * 17 % 60000) * interval '1 ms', {AC_KWH}, 240
FROM generate_series($1::timestamptz, $2, '1 minute') AS at, generate_series(1, $3::integer) AS device""",
    f"""
INSERT INTO vehicle_telemetry_history (vehicle_id, recorded_at, kwh_delivered_dc, soc, battery_temp)
SELECT 'VEH-' || device, at + (device * 17 % 60000) * interval '1 ms', {AC_KWH} * {EFFICIENCY}, 50, {TEMPERATURE}
FROM generate_series($1::timestamptz, $2, '1 minute') AS at, generate_series(1, $3::integer) AS device""",
)
UPSERT_LIVE_STATUS: Final = (
    """
INSERT INTO meter_live_status
SELECT 'METER-' || device, 0, 240, $1::timestamptz + (device * 17 % 60000) * interval '1 ms', now()
FROM generate_series(1, $2::integer) AS device
ON CONFLICT (meter_id) DO UPDATE SET recorded_at = excluded.recorded_at, updated_at = now()""",
    """
INSERT INTO vehicle_live_status
SELECT 'VEH-' || device, 50, 0, 25, $1::timestamptz + (device * 17 % 60000) * interval '1 ms', now()
FROM generate_series(1, $2::integer) AS device
ON CONFLICT (vehicle_id) DO UPDATE SET recorded_at = excluded.recorded_at, updated_at = now()""",
)
SET_WATERMARKS: Final = "UPDATE rollup_state SET late_before = $1, complete_before = $1"


@dataclass(frozen=True, slots=True)
class LargeFleet:
    """The hours before `hour` are rolled up; that hour and the minutes from its end to `now` are readings."""

    database: Database
    vehicles: int
    hour: datetime

    @property
    def now(self) -> datetime:
        """When the hour is due to be rolled up."""
        return self.hour + HOUR + ROLLUP_GRACE


@contextmanager
def large_fleet(harness: Harness, vehicles: int) -> Iterator[LargeFleet]:
    """A database of so many vehicles and as many meters."""
    latest = datetime.now(UTC) - MINUTES_OF_RUNS - HOUR - ROLLUP_GRACE
    with harness.empty_database() as database:
        fleet = LargeFleet(database, vehicles, latest.replace(minute=0, second=0, microsecond=0))
        asyncio.run(_fill(harness, fleet))
        yield fleet


async def insert_minute(connection: Any, minute: datetime, vehicles: int) -> None:
    """A reading of every device, stored as a consumer stores it: history and live status."""
    for statement in INSERT_READINGS:
        await connection.execute(statement, minute, minute, vehicles)
    for statement in UPSERT_LIVE_STATUS:
        await connection.execute(statement, minute, vehicles)


async def _fill(harness: Harness, fleet: LargeFleet) -> None:
    connection = await connect(SecretStr(fleet.database.migrator_url), server_settings=FREQUENT_SESSION)
    try:
        for statement in UPSERT_LIVE_STATUS:
            await connection.execute(statement, fleet.now - MINUTE, fleet.vehicles)
        await connection.execute(INSERT_ASSIGNMENTS, fleet.vehicles)
        harness.log_progress(f"{2 * fleet.vehicles:,} devices inserted")
        for hour in range(24):
            for statement in INSERT_SUMS:
                at = fleet.hour - DAY + hour * HOUR
                await connection.execute(statement, at, at, fleet.vehicles)
        harness.log_progress("24 hours of sums inserted")
        minutes = (fleet.now - fleet.hour) // MINUTE
        for minute in range(minutes):
            for statement in INSERT_READINGS:
                at = fleet.hour + minute * MINUTE
                await connection.execute(statement, at, at, fleet.vehicles)
        harness.log_progress(f"{2 * minutes * fleet.vehicles:,} readings inserted")
        await connection.execute(SET_WATERMARKS, fleet.hour)
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()
