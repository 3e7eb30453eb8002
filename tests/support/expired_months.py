"""Months older than the retention period: filled with readings, and read back."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from sql.connection import connect
from sql.maintenance.scheduler import HOURLY_SESSION
from sql.partitions import ROWS, list_partitions, midnight
from sql.queries import queries
from tests.support.database import Database

JANUARY = datetime(2024, 1, 1, tzinfo=UTC)
MARCH = datetime(2024, 3, 1, tzinfo=UTC)
METERS = "meter_telemetry_history"
METER_READINGS = f"""
INSERT INTO {METERS} (meter_id, recorded_at, kwh_consumed_ac, voltage, derived)
SELECT 'METER-' || meter, $1::timestamptz + minute * interval '1 min 0.000001 s', random() * 10, 220 + random() * 20,
    CASE WHEN meter = 2 THEN true END
FROM generate_series(1, 3) AS meter, generate_series(1, $2::integer) AS minute"""
VEHICLE_READINGS = """
INSERT INTO vehicle_telemetry_history (vehicle_id, recorded_at, kwh_delivered_dc, soc, battery_temp)
SELECT 'VEH-1', $1::timestamptz + minute * interval '1 min', random() * 10, random() * 100, -60 + random() * 210
FROM generate_series(1, $2::integer) AS minute"""
REGISTER_READINGS = """
INSERT INTO meter_register_history (meter_id, recorded_at, kwh_register, kwh_high, voltage)
SELECT 'METER-2', $1::timestamptz + minute * interval '1 min', minute / 7.0, CASE minute % 3 WHEN 0 THEN minute END, 230
FROM generate_series(1, $2::integer) AS minute"""
VIEWS = {
    METERS: "meter_readings",
    "vehicle_telemetry_history": "vehicle_readings",
    "meter_register_history": "register_readings",
}
LATE = {
    METERS: "meter_late_readings",
    "vehicle_telemetry_history": "vehicle_late_readings",
    "meter_register_history": "register_late_readings",
}
HISTORIES = (METERS, "vehicle_telemetry_history", "meter_register_history")


async def connect_as_maintenance(database: Database) -> Any:
    """A connection with the session settings of maintenance's long tasks."""
    return await connect(SecretStr(database.migrator_url), server_settings=HOURLY_SESSION)


async def fill_rows(database: Database, minutes: int = 500) -> None:
    """Inserts rows of every type into January and March 2024, and none into February, in partitions of a month."""
    await database.execute("UPDATE rollup_state SET folding_before = '-infinity', folded_before = '-infinity'")
    await database.fetch("SELECT ensure_history_partitions($1, $2)", JANUARY, MARCH)
    for month in (JANUARY, MARCH):
        for statement in (METER_READINGS, VEHICLE_READINGS, REGISTER_READINGS):
            await database.fetch(statement, month, minutes)


async def fill_histories(database: Database, minutes: int = 500) -> None:
    """As fill_rows(), and folds these months."""
    await fill_rows(database, minutes)
    connection = await connect_as_maintenance(database)
    for month in (JANUARY, MARCH):
        for meter in ("METER-1", "METER-2", "METER-3"):
            await connection.execute("SELECT fold_meter_day($1, $2)", meter, month.date())
        await connection.execute("SELECT fold_vehicle_day('VEH-1', $1), fold_register_day('METER-2', $1)", month.date())
    for table in await list_partitions(connection, ROWS):
        if table.opens <= MARCH:
            await connection.execute(f'DROP TABLE "{table.name}"')
    await queries.begin_folding(connection, instant=midnight(datetime.now(UTC)) - timedelta(days=3))
    await connection.close()


async def write_late(database: Database, statement: str, instant: datetime, minutes: int) -> None:
    """Inserts readings of a folded day, as consumers do."""
    history = next(each for each in LATE if f"INTO {each} " in statement)
    await database.fetch(statement.replace(history, LATE[history]), instant, minutes)


async def shown_rows(database: Database, history: str, month: datetime) -> list[tuple[Any, ...]]:
    """The readings of a month of all levels, with the columns of the history, as rows() orders them."""
    columns = await database.value(
        "SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 "
        "AND NOT attisdropped",
        history,
    )
    found = await database.fetch(
        f"SELECT {columns} FROM {VIEWS[history]} WHERE day >= $1 AND day < ($1 + interval '1 month') ORDER BY 1, 2, 3, 4, 5",
        month.date(),
    )
    return [tuple(row) for row in found]


async def rows(database: Database, table: str, suffix: str = "", schema: str = "public") -> list[tuple[Any, ...]]:
    """All rows of a table, or of the monthly partition with this suffix, in order."""
    found = await database.fetch(f"SELECT * FROM {schema}.{table}{suffix} ORDER BY 1, 2, 3, 4, 5")
    return [tuple(row) for row in found]


async def archived_rows(database: Database, table: str, suffix: str) -> list[tuple[Any, ...]]:
    """As rows(), with `ingested_at` (the second column) to the millisecond, which is what an archive keeps of it."""
    found = await rows(database, table, suffix)
    return [(row[0], row[1].replace(microsecond=row[1].microsecond // 1000 * 1000), *row[2:]) for row in found]


def files(directory: Path) -> set[str]:
    """The files below a directory, as paths relative to it, without that of the lock."""
    return {os.fspath(path.relative_to(directory)) for path in directory.rglob("[!.]*") if path.is_file()}
