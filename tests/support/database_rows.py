"""Rows that a test inserts for the read service to find: assignments, evaluations, faults, trends, rollups, folded days."""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from sql.maintenance.rollups import refresh_rollups
from tests.support.database import Database
from tests.support.records import NOON

HISTORIES = {
    "meter": "meter_telemetry_history", "vehicle": "vehicle_telemetry_history", "register": "meter_register_history"
}  # fmt: skip
HOURLY = (("meter_energy_hourly", "hour"), ("vehicle_energy_hourly", "hour"))
HEALTHY: dict[str, Any] = {
    "assigned_seconds": 86_400.0, "ac_kwh": 100.0, "dc_kwh": 92.0, "dc_kwh_assigned": 92.0, "ac_points": 1440,
    "dc_points": 1440, "dc_points_assigned": 1440, "average_battery_temp": 25.0, "ratio": 92.0, "ac_coverage": 1.0,
    "dc_coverage": 1.0, "status": "healthy", "reason": "92 % is at or above 90 %",
}  # fmt: skip


async def insert_row(database: Database, table: str, **row: Any) -> None:
    """Inserts one row as the owner of the schema."""
    placeholders = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    await database.fetch(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({placeholders})", *row.values())


async def insert_assignment(database: Database, vehicle_id: str, meter_id: str, *during: datetime | None) -> None:
    """Assigns a vehicle to a meter for a time range: its start and its end, by default from 2020 without an end."""
    start, end = during or (datetime(2020, 1, 1, tzinfo=UTC), None)
    await database.fetch(
        "INSERT INTO vehicle_meter_assignments VALUES ($1, $2, tstzrange($3, $4, '[)'), 'test')",
        vehicle_id, meter_id, start, end,
    )  # fmt: skip


async def insert_evaluation(database: Database, vehicle_id: str, window_end: datetime, **changes: Any) -> None:
    """The latest evaluation of a vehicle: healthy, except for `changes`."""
    await insert_row(database, "vehicle_efficiency", vehicle_id=vehicle_id, window_end=window_end, **HEALTHY | changes)


async def insert_unassigned_evaluation(database: Database, vehicle_id: str, window_end: datetime) -> None:
    """The latest evaluation of a vehicle without a meter."""
    energy: dict[str, Any] = {"assigned_seconds": None, "ac_kwh": 0.0, "dc_kwh_assigned": 0.0, "ac_points": 0}
    judgement: dict[str, Any] = {"ratio": None, "ac_coverage": None, "status": "unassigned", "reason": "no meter"}
    changes = {**energy, **judgement, "dc_kwh": 5.0, "average_battery_temp": None}
    await insert_evaluation(database, vehicle_id, window_end, **changes)


async def insert_fault(database: Database, vehicle_id: str, at: datetime, **closed: Any) -> None:
    """A fault of a vehicle's charger: open, unless `closed` has the columns of a closed one."""
    await insert_row(
        database, "efficiency_faults", vehicle_id=vehicle_id, meter_ids=["METER-1", "METER-2"], opened_at=at,
        opened_ratio=71.0, opened_ac_kwh=10.0, opened_dc_kwh=7.1, lowest_ratio=70.0, **closed,
    )  # fmt: skip


async def insert_trend(database: Database, vehicle_id: str, status: str, days_until_fault: float | None) -> None:
    """The trend of a vehicle's efficiency."""
    await insert_row(
        database, "vehicle_trends", vehicle_id=vehicle_id, computed_at=NOON, last_day=NOON.date(), days=30, slope=-0.1,
        slope_low=-0.2, slope_high=-0.05, level=88.0, status=status, days_until_fault=days_until_fault,
    )  # fmt: skip


async def fold_days(connection: Any, before: datetime, *, keep_rows: bool = False) -> None:
    """Folds all days before a midnight (UTC) and moves the watermarks there, as maintenance does.

    The rows and rollups of these days are deleted; `keep_rows`: their partitions are not dropped yet.
    """
    for kind, history in HISTORIES.items():
        await _fold(
            connection,
            kind,
            f"{history} CROSS JOIN rollup_state WHERE recorded_at >= folded_before AND recorded_at < $1",
            before,
        )
    await connection.execute("UPDATE rollup_state SET folding_before = $1, folded_before = $1", before)
    if not keep_rows:
        for table, instant in (*((history, "recorded_at") for history in HISTORIES.values()), *HOURLY):
            await connection.execute(f"DELETE FROM {table} WHERE {instant} < $1", before)


async def merge_late_readings(connection: Any) -> None:
    """Merges all late readings of folded days into their folded rows."""
    for kind in HISTORIES:
        await _fold(connection, kind, f"{kind}_late_readings CROSS JOIN rollup_state WHERE recorded_at < folded_before")


async def _fold(connection: Any, kind: str, source: str, *arguments: Any) -> None:
    """Folds each device's day that has a reading in `source`."""
    device = "vehicle_id" if kind == "vehicle" else "meter_id"
    await connection.execute(
        f"SELECT fold_{kind}_day({device}, day) "
        f"FROM (SELECT DISTINCT {device}, utc_day(recorded_at) AS day FROM {source}) AS device_day",
        *arguments,
    )


async def roll_up(database: Database, until: datetime) -> None:
    """Rolls up the hours that end at `until` or before, as `python -m sql maintain` does."""
    connection = await asyncpg.connect(database.migrator_url)
    try:
        await refresh_rollups(connection, until, grace=timedelta(0))
    finally:
        await connection.close()
