"""Rows that a test inserts for the read service to find: assignments, evaluations, faults, trends, rollups, folded days."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import asyncpg

from sql.maintenance.fleet_totals import store_fleet_totals
from sql.maintenance.rollups import refresh_rollups
from tests.support.database import Database
from tests.support.records import NOON

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
    """The latest evaluation of a vehicle: healthy, except for `changes`; and the totals of the fleet with it."""
    await insert_row(database, "vehicle_efficiency", vehicle_id=vehicle_id, window_end=window_end, **HEALTHY | changes)
    await update_fleet_totals(database)


async def update_fleet_totals(database: Database) -> None:
    """Counts the evaluated vehicles and the devices, as maintenance does after each evaluation."""
    connection = await asyncpg.connect(database.migrator_url)
    try:
        await store_fleet_totals(connection)
    finally:
        await connection.close()


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


async def roll_up(database: Database, until: datetime) -> None:
    """Rolls up the hours that end at `until` or before, as `python -m sql maintain` does."""
    connection = await asyncpg.connect(database.migrator_url)
    try:
        await refresh_rollups(connection, until, grace=timedelta(0))
    finally:
        await connection.close()


FORGET_WATERMARKS = (
    "UPDATE rollup_state SET late_before = DEFAULT, complete_before = DEFAULT, "
    "folding_before = DEFAULT, folded_before = DEFAULT"
)


class Levels(StrEnum):
    """What maintenance does to days that have ended."""

    BEGIN_FOLDING = "readings of one more day are late readings"
    FINISH_FOLDING = "that day is folded"
    MERGE = "late readings are merged"


async def change_levels(owner: Any, step: Levels, midnights: Iterator[datetime]) -> None:
    """One step of maintenance; days are folded up to the next of `midnights`, and their rows are dropped before the next fold."""
    if step is Levels.MERGE:
        await merge_late_readings(owner)
        return
    await finish_folding(owner, keep_rows=step is Levels.FINISH_FOLDING)
    if step is Levels.BEGIN_FOLDING and (midnight := next(midnights, None)) is not None:
        await begin_folding(owner, midnight)


async def begin_folding(owner: Any, midnight: datetime) -> None:
    """From now on readings from before `midnight` are late readings. All hours up to it are rolled up first."""
    await refresh_rollups(owner, midnight, grace=timedelta(0))
    await owner.execute("UPDATE rollup_state SET folding_before = greatest(folding_before, $1)", midnight)


async def fold_days(owner: Any, before: datetime, *, keep_rows: bool = False) -> None:
    """Folds all days before a midnight; their hours may not be rolled up. `keep_rows`: their partitions are not dropped yet."""
    await owner.execute("UPDATE rollup_state SET folding_before = greatest(folding_before, $1)", before)
    await finish_folding(owner, keep_rows=keep_rows)


async def finish_folding(owner: Any, *, keep_rows: bool = False) -> None:
    """Folds all days before `folding_before`, one device after the other, and deletes their rows."""
    for function, history, device in (
        ("fold_meter_day", "meter_telemetry_history", "meter_id"),
        ("fold_vehicle_day", "vehicle_telemetry_history", "vehicle_id"),
        ("fold_register_day", "meter_register_history", "meter_id"),
    ):
        await owner.execute(
            f"SELECT {function}({device}, day) FROM (SELECT DISTINCT {device}, utc_day(recorded_at) AS day "
            f"FROM {history}, rollup_state WHERE recorded_at >= folded_before AND recorded_at < folding_before) AS ended"
        )
    await owner.execute("UPDATE rollup_state SET folded_before = folding_before")
    await owner.execute("DELETE FROM late_hours WHERE hour < (SELECT folded_before FROM rollup_state)")
    if keep_rows:
        return
    for history in ("meter_telemetry_history", "vehicle_telemetry_history", "meter_register_history"):
        await owner.execute(f"DELETE FROM {history} WHERE recorded_at < (SELECT folded_before FROM rollup_state)")
    for rollup in ("meter_energy_hourly", "vehicle_energy_hourly"):
        await owner.execute(f"DELETE FROM {rollup} WHERE hour < (SELECT folded_before FROM rollup_state)")


async def merge_late_readings(owner: Any) -> None:
    """Merges all late readings of folded days."""
    for function, late, device in (
        ("fold_meter_day", "meter_late_readings", "meter_id"),
        ("fold_vehicle_day", "vehicle_late_readings", "vehicle_id"),
        ("fold_register_day", "register_late_readings", "meter_id"),
    ):
        await owner.execute(
            f"SELECT {function}({device}, day) FROM (SELECT DISTINCT {device}, utc_day(recorded_at) AS day "
            f"FROM {late}, rollup_state WHERE recorded_at < folded_before) AS changed"
        )
