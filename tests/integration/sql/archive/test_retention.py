"""Retention and archives: months are archived, dropped and restored unchanged; no interruption loses a reading."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from sql.archive.atomic_files import exclusive
from sql.archive.export import export_source
from sql.archive.manifest import ArchiveError, find_archives
from sql.archive.source import Source
from sql.archive.verify import verify_archive
from sql.maintenance.retention import drop_expired_months
from tests.support.command import Command, sql_command
from tests.support.database import Database
from tests.support.expired_months import (
    HISTORIES,
    JANUARY,
    MARCH,
    METER_READINGS,
    METERS,
    VEHICLE_READINGS,
    connect_as_maintenance,
    files,
    fill_histories,
    rows,
    shown_rows,
    write_late,
)
from tests.support.ledger import Topics, ledger
from tests.support.records import meter
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

NOW = datetime.now(UTC)
WHOLE = {
    f"{month}/{file}"
    for month in ("2024-01", "2024-03")
    for file in ("manifest.json", *(f"{history}.parquet" for history in HISTORIES))
}
COUNT = "SELECT count(*) FROM pg_class WHERE relname ~ '_y2024m0[123]$'"


class lock_table:  # noqa: N801 - used like a function
    """Holds a lock on a table for the duration of the block."""

    def __init__(self, database: Database, table: str, mode: str = "ACCESS EXCLUSIVE") -> None:
        self._database, self._table, self._mode = database, table, mode

    async def __aenter__(self) -> None:
        self._connection = await asyncpg.connect(self._database.migrator_url)
        await self._connection.execute(f"BEGIN; LOCK TABLE {self._table} IN {self._mode} MODE")

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Any]:
    await fill_histories(database)
    connected = await connect_as_maintenance(database)
    yield connected
    connected.terminate()


@pytest.fixture
def sql(database: Database, environment: dict[str, str], tmp_path: Path) -> Command:
    return sql_command(environment, database, tmp_path / "archive")


async def everything(database: Database) -> dict[str, Any]:
    return {
        f"{history}_y{month:%Ym%m}": await shown_rows(database, history, month)
        for history in HISTORIES
        for month in (JANUARY, MARCH)
    }


async def restored(database: Database, number: str = "") -> dict[str, Any]:
    return {
        f"{history}_{suffix}": await rows(database, history, f"_{suffix}{number}", "archive")
        for history in HISTORIES
        for suffix in ("y2024m01", "y2024m03")
    }


async def test_months_are_archived_dropped_and_restored_unchanged(
    connection: Any, database: Database, sql: Command, tmp_path: Path
) -> None:
    before = await everything(database)
    await sql.succeed("maintain", "--once")

    assert await database.value(COUNT) == 0
    assert files(tmp_path / "archive") == WHOLE
    assert "2024-03" in (await sql.succeed("archive", "list"))[0]
    assert (await sql.succeed("archive", "verify"))[0].count("good") == 2
    await sql.succeed("archive", "restore")
    assert await restored(database) == before
    code, _, stderr = await sql.run("archive", "restore", str(tmp_path / "archive" / "2024-01"))
    assert code == 1
    assert "exists already: drop it first" in stderr


async def test_without_a_directory_months_are_dropped_and_logged(
    connection: Any, database: Database, sql: Command
) -> None:
    code, _, stderr = await sql.run("maintain", "--once", ARCHIVE_DIRECTORY="")
    assert code == 0, stderr
    assert await database.value(COUNT) == 0
    assert stderr.count('"event": "month_dropped"') == 3
    assert '"archived_in": null' in stderr
    kept = await database.fetch("SELECT history, month::text, readings, derived FROM retired_months ORDER BY 1, 2")
    assert [tuple(row) for row in kept] == [
        ("meter_register_history", "2024-01-01", 500, 0),
        ("meter_register_history", "2024-03-01", 500, 0),
        (METERS, "2024-01-01", 1500, 500),
        (METERS, "2024-03-01", 1500, 500),
        ("vehicle_telemetry_history", "2024-01-01", 500, 0),
        ("vehicle_telemetry_history", "2024-03-01", 500, 0),
    ]


async def test_recent_months_stay(connection: Any, database: Database) -> None:
    just_over = MARCH + timedelta(days=31 + 400 + 7) - timedelta(seconds=1)
    assert await drop_expired_months(connection, just_over, 400, None) == ["2024-01", "2024-02"]
    assert len(await shown_rows(database, METERS, MARCH)) == 1500
    assert await drop_expired_months(connection, just_over + timedelta(seconds=1), 400, None) == ["2024-03"]


async def test_a_month_with_a_day_that_is_not_folded_stays(connection: Any) -> None:
    await connection.execute("UPDATE rollup_state SET folded_before = '2024-03-31'")
    assert await drop_expired_months(connection, NOW, 400, None) == ["2024-01", "2024-02"]


async def test_the_ledger_adds_up_after_months_were_dropped(
    connection: Any, database: Database, topics: Topics
) -> None:
    await database.execute(
        "INSERT INTO kafka_offsets "
        "(consumer_group, topic, partition, start_offset, next_offset, records_consumed, records_written) "
        f"VALUES ('g', '{topics.meter}', 0, 0, 2000, 2000, 2000), ('g', '{topics.vehicle}', 0, 0, 1000, 1000, 1000)"
    )
    before = await ledger(database, topics)
    await drop_expired_months(connection, NOW, 400, None)
    assert await ledger(database, topics) == before
    assert before[topics.meter].written == 2000


async def test_late_readings_that_arrive_during_the_export_are_in_the_archive(
    connection: Any, database: Database, tmp_path: Path
) -> None:
    late = JANUARY + timedelta(days=20)
    await write_late(database, METER_READINGS, late - timedelta(days=1), 2)
    async with lock_table(database, "vehicle_days_y2024m01"):
        working = asyncio.create_task(drop_expired_months(connection, NOW, 400, tmp_path))
        await until(lambda: is_blocked(database), "the contents of the vehicles are computed")
        await write_late(database, METER_READINGS, late, 7)
    await working
    (archive, _) = find_archives(tmp_path)
    verify_archive(archive)
    meters = next(file for file in archive.manifest.files if file.history == METERS)
    assert meters.contents.readings == 1500 + 6 + 21
    kept = await database.value(
        "SELECT readings FROM retired_months WHERE history = $1 AND month = '2024-01-01'", METERS
    )
    assert kept == 1500 + 6 + 21
    assert await database.value("SELECT count(*) FROM meter_late_readings") == 0


async def test_late_readings_that_arrive_before_the_drop_are_in_the_archive(
    connection: Any, database: Database, tmp_path: Path
) -> None:
    writer = await asyncpg.connect(database.migrator_url)
    async with writer.transaction():
        await writer.execute("SELECT pg_advisory_xact_lock_shared(hashtext('energy.merging'))")
        working = asyncio.create_task(drop_expired_months(connection, NOW, 400, tmp_path))
        await until(lambda: is_blocked(database), "the month is to be dropped")
        await writer.execute(METER_READINGS.replace(METERS, "meter_late_readings"), JANUARY + timedelta(days=20), 7)
    await writer.close()
    await working
    for archive in find_archives(tmp_path):
        verify_archive(archive)
    kept = await database.value(
        "SELECT readings FROM retired_months WHERE history = $1 AND month = '2024-01-01'", METERS
    )
    assert kept == 1500 + 21


async def is_blocked(database: Database) -> bool:
    return bool(
        await database.value(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND application_name = 'energy-housekeeping' "
            "AND wait_event_type = 'Lock'",
            database.name,
        )
    )


@pytest.mark.parametrize("damaged", [b"", b"x", b"PAR1"])
async def test_a_damaged_file_is_exported_again_before_anything_is_dropped(
    connection: Any, database: Database, tmp_path: Path, damaged: bytes
) -> None:
    before = await everything(database)
    async with lock_table(database, "retired_months", "SHARE"):
        await connection.execute("SET lock_timeout = '200ms'")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await drop_expired_months(connection, NOW, 400, tmp_path)
    (tmp_path / "2024-01" / f"{METERS}.parquet").write_bytes(damaged)
    with pytest.raises(ArchiveError, match="is not what was archived"):
        verify_archive(next(find_archives(tmp_path)))
    await connection.execute("SET lock_timeout = '30s'")
    await drop_expired_months(connection, NOW, 400, tmp_path)
    for archive in find_archives(tmp_path):
        verify_archive(archive)
        held = {file.history: file.contents.readings for file in archive.manifest.files}
        assert held == {history: len(before[f"{history}_y{archive.manifest.month:%Ym%m}"]) for history in HISTORIES}


@pytest.mark.parametrize(
    ("table", "mode"),
    [
        ("vehicle_days_y2024m01", "ACCESS EXCLUSIVE"),  # before the file is written
        ("meter_days", "ACCESS SHARE"),  # a reader that DROP waits for
        ("register_days", "ACCESS SHARE"),  # after some tables were dropped, before COMMIT
        ("retired_months", "SHARE"),  # in the transaction of the DROP
    ],
)
async def test_a_kill_at_any_step_loses_nothing(
    connection: Any, database: Database, sql: Command, tmp_path: Path, table: str, mode: str
) -> None:
    before = await everything(database)
    async with lock_table(database, table, mode):
        process = await sql.start("maintain")

        try:
            await until(lambda: is_blocked(database), f"maintenance waits for {table}", every=0.02)
        finally:
            process.kill()
            await process.communicate()
        await database.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = $1 AND application_name = 'energy-housekeeping'",
            database.name,
        )

    await sql.succeed("maintain", "--once")
    assert await database.value(COUNT) == 0
    assert files(tmp_path / "archive") == WHOLE
    await sql.succeed("archive", "restore")
    assert await restored(database) == before


async def test_an_export_that_fails_keeps_the_month_and_is_reported(
    connection: Any, database: Database, sql: Command, tmp_path: Path
) -> None:
    (tmp_path / "archive").write_text("a file where a directory should be")
    before = await everything(database)
    code, _, stderr = await sql.run("maintain", "--once")
    assert code == 1
    assert '"task": "retention"' in stderr
    assert await everything(database) == before
    failed = await database.value("SELECT error FROM maintenance_runs WHERE task = 'retention'")
    assert "archive" in failed
    code, stdout, _ = await sql.run("doctor")
    assert code == 1
    assert "retention failed" in stdout


async def test_a_full_disk_leaves_no_file_and_loses_no_reading(
    connection: Any, database: Database, tmp_path: Path
) -> None:
    (tmp_path / f"{METERS}.parquet.partial").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        await export_source(connection, Source.of_days(METERS, JANUARY, MARCH), tmp_path)
    assert files(tmp_path) == set()
    assert len(await shown_rows(database, METERS, JANUARY)) == 1500


async def test_a_month_stays_while_another_process_may_write_into_the_directory(
    connection: Any, database: Database, tmp_path: Path
) -> None:
    """One that was suspended and has lost its session would replace files of a month that is dropped meanwhile."""
    with (
        exclusive(tmp_path),
        pytest.raises(BlockingIOError, match="another process, which may be suspended, writes here"),
    ):
        await drop_expired_months(connection, NOW, 400, tmp_path)
    assert len(await shown_rows(database, METERS, JANUARY)) == 1500
    assert await drop_expired_months(connection, NOW, 400, tmp_path) == ["2024-01", "2024-02", "2024-03"]


async def test_the_archive_directory_of_another_database_is_rejected(
    connection: Any, database: Database, tmp_path: Path
) -> None:
    (tmp_path / "2024-01").mkdir()
    (tmp_path / "2024-01" / "manifest.json").write_text(
        '{"month": "2024-01-01", "written_at": "2026-01-01T00:00:00Z", "database": "other", "server": 18, "files": [], '
        '"version": 1}'
    )
    with pytest.raises(ArchiveError, match="give each its own ARCHIVE_DIRECTORY"):
        await drop_expired_months(connection, NOW, 400, tmp_path)
    assert len(await shown_rows(database, METERS, JANUARY)) == 1500


async def test_a_month_that_is_dropped_again_does_not_overwrite_its_archive(
    connection: Any, database: Database, sql: Command, tmp_path: Path
) -> None:
    before = await everything(database)
    await sql.succeed("maintain", "--once")
    await write_late(database, VEHICLE_READINGS, JANUARY, 5)
    await sql.succeed("maintain", "--once")
    assert {"2024-01-2/manifest.json", "2024-01-2/vehicle_telemetry_history.parquet"} == files(
        tmp_path / "archive"
    ) - WHOLE
    await sql.succeed("archive", "restore")
    assert await restored(database) == before
    assert len(await rows(database, "vehicle_telemetry_history_y2024m01_2", schema="archive")) == 5


async def test_a_damaged_archive_is_not_restored(
    connection: Any, database: Database, sql: Command, tmp_path: Path
) -> None:
    await drop_expired_months(connection, NOW, 400, tmp_path / "archive")
    file = tmp_path / "archive" / "2024-01" / "vehicle_telemetry_history.parquet"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    assert (await sql.run("archive", "verify"))[0] == 1
    code, _, stderr = await sql.run("archive", "restore", str(file.parent))
    assert code == 1
    assert "is not what was archived" in stderr
    assert await database.value("SELECT count(*) FROM pg_namespace WHERE nspname = 'archive'") == 0


async def test_readers_and_writers_wait_a_second_at_most_for_a_month_that_is_to_be_dropped(
    connection: Any, database: Database, write: Any
) -> None:
    async with lock_table(database, "meter_days", "ACCESS SHARE"):
        with pytest.raises(asyncpg.LockNotAvailableError):
            await drop_expired_months(connection, NOW, 400, None)
        await write(meter=[meter()])
    assert len(await shown_rows(database, METERS, JANUARY)) == 1500
    assert await drop_expired_months(connection, NOW, 400, None) == ["2024-01", "2024-02", "2024-03"]
