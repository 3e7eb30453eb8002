"""Archive files: written from rows, folded days and late readings alike; files of former versions are verified and restored."""

import shutil
from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from sql.archive import source as sources
from sql.archive.export import export_source
from sql.archive.manifest import find_archives
from sql.archive.parquet import read_batches
from sql.archive.source import Source, device_batches, source_contents
from tests.support.command import sql_command
from tests.support.database import Database
from tests.support.expired_months import (
    HISTORIES,
    JANUARY,
    METERS,
    archived_rows,
    connect_as_maintenance,
    fill_rows,
)

pytestmark = pytest.mark.anyio

VERSION_1 = Path(__file__).with_name("version_1")
FEBRUARY = JANUARY + timedelta(days=31)
FOLD = {
    METERS: "SELECT fold_meter_day(meter_id, $1) FROM (SELECT DISTINCT meter_id FROM meter_telemetry_history) AS meter",
    "vehicle_telemetry_history": "SELECT fold_vehicle_day('VEH-1', $1)",
    "meter_register_history": "SELECT fold_register_day('METER-2', $1)",
}


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Any]:
    await fill_rows(database, 60)
    connected = await connect_as_maintenance(database)
    yield connected
    connected.terminate()


async def fold(database: Database) -> None:
    """Fold the days of January, and remove their rows."""
    for history, statement in FOLD.items():
        await database.fetch(statement, date(2024, 1, 1))
        await database.execute(f"DELETE FROM {history} WHERE recorded_at < '2024-02-01'")
    await database.execute("UPDATE rollup_state SET folding_before = '2024-02-01', folded_before = '2024-02-01'")


def stored(path: Path, columns: list[str]) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for batch in read_batches(path, columns) for row in batch.to_pylist()]


@pytest.mark.parametrize("history", HISTORIES)
async def test_a_month_is_archived_alike_from_rows_and_from_folded_days(
    connection: Any, database: Database, tmp_path: Path, history: str
) -> None:
    expected = await archived_rows(database, history, "_y2024m01")
    month = Source.of_days(history, JANUARY, FEBRUARY)
    rows = await export_source(connection, Source.of_table(history, f"{history}_y2024m01"), tmp_path)
    levels = await export_source(connection, month, tmp_path)
    await fold(database)
    folded = await export_source(connection, month, tmp_path)

    assert rows.contents == levels.contents == folded.contents == await source_contents(connection, month)
    assert sorted(stored(tmp_path / folded.file, folded.columns), key=str) == sorted(expected, key=str)


async def test_late_readings_are_archived_with_their_month(connection: Any, database: Database, tmp_path: Path) -> None:
    await fold(database)
    await database.execute(
        "INSERT INTO meter_late_readings (meter_id, recorded_at, kwh_consumed_ac, voltage, derived, replaces) VALUES "
        "('METER-4', '2024-01-20T10:00:00Z', 1.5, 230, NULL, false), "
        "('METER-2', '2024-01-01T00:10:00.00001Z', 2.5, 231, true, true)"
    )
    month = Source.of_days(METERS, JANUARY, FEBRUARY)
    file = await export_source(connection, month, tmp_path)
    assert file.contents == await source_contents(connection, month)
    assert (file.contents.readings, file.contents.derived) == (181, 60)
    found = stored(tmp_path / file.file, ["meter_id", "recorded_at", "kwh_consumed_ac"])
    assert [row[0] for row in found] == sorted(row[0] for row in found)
    assert [row[2] for row in found if row[0] == "METER-4"] == [1.5]
    assert [row[2] for row in found if row[0] == "METER-2"][9] == 2.5, "in the place of what it replaces"


async def test_all_devices_are_found_whichever_level_holds_them(
    connection: Any, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "DEVICES_PER_BATCH", 2)
    await fold(database)
    await database.execute(
        "INSERT INTO meter_late_readings (meter_id, recorded_at, kwh_consumed_ac, voltage) "
        "VALUES ('METER-11', '2024-01-20T10:00:00Z', 1.5, 230)"
    )
    source = Source.of_days(METERS, JANUARY, FEBRUARY)
    assert [batch async for batch in device_batches(connection, source)] == [
        ["METER-1", "METER-11"],
        ["METER-2", "METER-3"],
    ]


async def test_a_file_of_version_1_is_verified_and_restored(
    database: Database, environment: dict[str, str], tmp_path: Path
) -> None:
    archive = tmp_path / "archive"
    shutil.copytree(VERSION_1, archive)
    sql = sql_command(environment, database, archive)
    assert (await sql.succeed("archive", "verify"))[0].count("good") == 1
    await sql.succeed("archive", "restore")
    (manifest,) = (each.manifest for each in find_archives(archive))
    for file in manifest.files:
        restored = f"archive.{file.history}_y2024m01"
        assert await database.value(f"SELECT count(*) FROM {restored}") == file.contents.readings
        assert await database.value(
            f"SELECT count(*) FROM {restored} WHERE ingested_at <> date_trunc('ms', ingested_at)"
        )
