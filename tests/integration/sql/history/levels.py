"""Readings of some days as rows, in partitions of a day or of a month, and the same readings as the views show them."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from sql.maintenance.rollups import refresh_rollups
from sql.partitions import ensure_partitions, list_partitions
from sql.queries import queries
from tests.support.database import drop_rows

TODAY: Final = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
METERS: Final = ("METER-1", "METER-2", "METER-3")
VEHICLES: Final = ("VEH-1", "VEH-2")
VIEWS: Final = ("meter_readings", "vehicle_readings", "register_readings")
Readings = dict[str, list[tuple[Any, ...]]]
STORE: Final = """
WITH instants AS (SELECT $1::timestamptz + n * interval '30 min 0.000123 s' AS at, n FROM generate_series(0, 47) AS n),
meters AS (
    INSERT INTO meter_telemetry_history (meter_id, recorded_at, ingested_at, kwh_consumed_ac, voltage, derived)
    SELECT meter, at, at + interval '2.345678 s', n / 8.0, 230, CASE WHEN n % 5 = 0 THEN true END
    FROM instants, unnest($2::text[]) AS meter
), registers AS (
    INSERT INTO meter_register_history (meter_id, recorded_at, ingested_at, kwh_register, voltage)
    SELECT $2[1], at, at + interval '2.345678 s', n, 230 FROM instants
)
INSERT INTO vehicle_telemetry_history (vehicle_id, recorded_at, ingested_at, kwh_delivered_dc, soc, battery_temp)
SELECT vehicle, at, at + interval '2.345678 s', n / 9.0, 80 - n / 2.0, 20.5 FROM instants, unnest($3::text[]) AS vehicle"""
LIVE_METERS: Final = """
INSERT INTO meter_live_status (meter_id, last_kwh_consumed_ac, last_voltage, recorded_at, updated_at)
SELECT meter, 1, 230, $2, now() FROM unnest($1::text[]) AS meter ON CONFLICT DO NOTHING"""
LIVE_VEHICLES: Final = """
INSERT INTO vehicle_live_status (vehicle_id, soc, last_kwh_delivered_dc, last_battery_temp, recorded_at, updated_at)
SELECT vehicle, 80, 1, 20, $2, now() FROM unnest($1::text[]) AS vehicle ON CONFLICT DO NOTHING"""


def days_ago(days: int) -> datetime:
    """The beginning of a day (UTC)."""
    return TODAY - timedelta(days=days)


@dataclass(frozen=True, slots=True)
class Levels:
    """A database with readings in levels, over a connection of the schema's owner."""

    connection: Any

    async def use_days(self, rows_from: datetime) -> None:
        """Empty partitions of a day for rows, from an instant on."""
        await drop_rows(self.connection)
        await queries.begin_folding(self.connection, instant=rows_from)
        await ensure_partitions(self.connection, datetime.now(UTC), 400)

    async def store(self, *days: datetime) -> None:
        """Readings of all devices, and their live status."""
        for day in days:
            await self.connection.execute(STORE, day, list(METERS), list(VEHICLES))
        await self.show_as_live(days[-1])

    async def show_as_live(self, instant: datetime) -> None:
        """Live status of all devices that have none."""
        await self.connection.execute(LIVE_METERS, list(METERS), instant)
        await self.connection.execute(LIVE_VEHICLES, list(VEHICLES), instant)

    async def roll_up(self) -> None:
        """Rollups up to now."""
        await refresh_rollups(self.connection, datetime.now(UTC), grace=timedelta(0), seconds=60)

    async def readings(self) -> Readings:
        """What the views show; `ingested_at` to the millisecond."""
        found = {}
        for view in VIEWS:
            rows = await self.connection.fetch(
                f"SELECT (reading).*, date_trunc('milliseconds', ingested_at) AS ingested FROM {view} AS reading ORDER BY 1, 2"
            )
            found[view] = [tuple(value for name, value in row.items() if name != "ingested_at") for row in rows]
        return found

    async def watermarks(self) -> tuple[datetime | None, datetime | None]:
        """folding_before and folded_before."""
        state = await queries.folding_state(self.connection)
        return state["folding_before"], state["folded_before"]

    async def tables_of_rows(self) -> list[str]:
        """The tables of meter readings."""
        return [table.name for table in await list_partitions(self.connection, ["meter_telemetry_history"])]

    async def folded_days(self) -> list[date]:
        rows = await self.connection.fetch("SELECT DISTINCT day FROM meter_days ORDER BY day")
        return [row["day"] for row in rows]
