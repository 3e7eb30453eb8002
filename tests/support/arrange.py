"""Rows that the read service finds: assignments, evaluations, rollups up to some hour."""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from sql.maintenance.rollups import refresh_rollups
from tests.support.records import NOON
from tests.support.servers import Database

EVALUATED: dict[str, Any] = {
    "assigned_seconds": 86_400.0, "ac_kwh": 100.0, "dc_kwh": 92.0, "dc_kwh_assigned": 92.0, "ac_points": 1440,
    "dc_points": 1440, "dc_points_assigned": 1440, "average_battery_temp": 25.0, "ratio": 92.0, "ac_coverage": 1.0,
    "dc_coverage": 1.0, "status": "healthy", "reason": "92 % is at or above 90 %",
}  # fmt: skip


async def assign(database: Database, vehicle_id: str, meter_id: str, *during: datetime | None) -> None:
    """A vehicle is measured by a meter, since 2020 and for good unless given."""
    start, end = during or (datetime(2020, 1, 1, tzinfo=UTC), None)
    await database.fetch(
        "INSERT INTO vehicle_meter_assignments VALUES ($1, $2, tstzrange($3, $4, '[)'), 'test')",
        vehicle_id, meter_id, start, end,
    )  # fmt: skip


async def insert(database: Database, table: str, **row: Any) -> None:
    """One row, as the owner of the schema."""
    places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    await database.fetch(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})", *row.values())


async def evaluate(database: Database, vehicle_id: str, window_end: datetime, **changes: Any) -> None:
    """The last evaluation of a vehicle: healthy unless said otherwise."""
    await insert(database, "vehicle_efficiency", vehicle_id=vehicle_id, window_end=window_end, **EVALUATED | changes)


async def unassigned(database: Database, vehicle_id: str, window_end: datetime) -> None:
    """The last evaluation of a vehicle that no meter measured."""
    nothing: dict[str, Any] = {"assigned_seconds": None, "ac_kwh": 0.0, "dc_kwh_assigned": 0.0, "ac_points": 0}
    judged: dict[str, Any] = {"ratio": None, "ac_coverage": None, "status": "unassigned", "reason": "no meter"}
    await evaluate(database, vehicle_id, window_end, dc_kwh=5.0, average_battery_temp=None, **nothing, **judged)


async def roll_up(database: Database, until: datetime) -> None:
    """Hours that end at `until` or before are rolled up, as `python -m sql maintain` does."""
    connection = await asyncpg.connect(database.migrator_url)
    try:
        await refresh_rollups(connection, until, grace=timedelta(0))
    finally:
        await connection.close()


async def open_fault(database: Database, vehicle_id: str, at: datetime, **closed: Any) -> None:
    """A fault of a vehicle; it is open unless told when it closed."""
    await insert(
        database, "efficiency_faults", vehicle_id=vehicle_id, meter_ids=["METER-1", "METER-2"], opened_at=at,
        opened_ratio=71.0, opened_ac_kwh=10.0, opened_dc_kwh=7.1, lowest_ratio=70.0, **closed,
    )  # fmt: skip


async def heading(database: Database, vehicle_id: str, status: str, days_until_fault: float | None) -> None:
    """Where the efficiency of a vehicle was found to be heading."""
    await insert(
        database, "vehicle_trends", vehicle_id=vehicle_id, computed_at=NOON, last_day=NOON.date(), days=30, slope=-0.1,
        slope_low=-0.2, slope_high=-0.05, level=88.0, status=status, days_until_fault=days_until_fault,
    )  # fmt: skip
