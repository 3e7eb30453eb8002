"""Retention and archives: months are archived, dropped and restored unchanged; no interruption loses a reading."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

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
    archived_rows,
    connect_as_maintenance,
    files,
    fill_histories,
    rows,
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
COUNT = "SELECT count(*) FROM pg_class WHERE relname ~ '(history|hourly)_y2024m0[123]$'"


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
    """All rows as an archive keeps them: `ingested_at` to the millisecond."""
    return {
        f"{history}_{suffix}": await archived_rows(database, history, f"_{suffix}")
        for history in HISTORIES
        for suffix in ("y2024m01", "y2024m03")
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


async def test_recent_months_stay_and_a_longer_retention_reattaches_partitions(
    connection: Any, database: Database
) -> None:
    await connection.execute(f"ALTER TABLE {METERS} DETACH PARTITION {METERS}_y2024m03 CONCURRENTLY")
    just_over = MARCH + timedelta(days=31 + 400 + 7) - timedelta(seconds=1)
    assert await drop_expired_months(connection, just_over, 400, None) == ["2024-01", "2024-02"]
    assert len(await rows(database, METERS)) == 1500, "attached again"
    assert await drop_expired_months(connection, just_over + timedelta(seconds=1), 400, None) == ["2024-03"]


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


async def test_readings_written_between_export_and_detachment_are_in_the_archive(
    connection: Any, database: Database, tmp_path: Path
) -> None:
    late = JANUARY + timedelta(days=20)
    async with lock_table(database, "vehicle_telemetry_history_y2024m01"):
        working = asyncio.create_task(drop_expired_months(connection, NOW, 400, tmp_path))

        async def meters_are_written() -> bool:
            return f"2024-01/{METERS}.parquet" in files(tmp_path)

        await until(meters_are_written, "the meters' file is written")
        await database.fetch(METER_READINGS, late, 7)
    await working
    (archive, _) = find_archives(tmp_path)
    verify_archive(archive)
    meters = next(file for file in archive.manifest.files if file.history == METERS)
    assert meters.contents.readings == 1500 + 21
    kept = await database.value(
        "SELECT readings FROM retired_months WHERE history = $1 AND month = '2024-01-01'", METERS
    )
    assert kept == 1500 + 21


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
        ("vehicle_telemetry_history_y2024m01", "ACCESS EXCLUSIVE"),  # before the file is written
        (METERS, "ACCESS SHARE"),  # a reader that DETACH waits for
        ("vehicle_telemetry_history", "SHARE UPDATE EXCLUSIVE"),  # after some tables were detached
        ("retired_months", "SHARE"),  # in the transaction of the DROP
        ("packed_indexes", "ACCESS EXCLUSIVE"),  # at its end
    ],
)
async def test_a_kill_at_any_step_loses_nothing(
    connection: Any, database: Database, sql: Command, tmp_path: Path, table: str, mode: str
) -> None:
    before = await everything(database)
    async with lock_table(database, table, mode):
        process = await sql.start("maintain")

        async def is_blocked() -> bool:
            return bool(
                await database.value(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND application_name = 'energy-housekeeping' "
                    "AND wait_event_type = 'Lock'",
                    database.name,
                )
            )

        try:
            await until(is_blocked, f"maintenance waits for {table}", every=0.02)
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


async def test_a_full_disk_leaves_no_file_and_loses_no_reading(connection: Any, tmp_path: Path) -> None:
    (tmp_path / f"{METERS}.parquet.partial").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        await export_source(connection, Source.of_table(METERS, f"{METERS}_y2024m01"), tmp_path)
    assert files(tmp_path) == set()
    assert await connection.fetchval(f"SELECT count(*) FROM {METERS}_y2024m01") == 1500


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
    assert len(await rows(database, METERS)) == 3000


async def test_a_month_that_is_dropped_again_does_not_overwrite_its_archive(
    connection: Any, database: Database, sql: Command, tmp_path: Path
) -> None:
    before = await everything(database)
    await sql.succeed("maintain", "--once")
    await database.fetch("SELECT ensure_history_partitions($1, $1)", JANUARY)
    await database.fetch(VEHICLE_READINGS, JANUARY, 5)
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


async def test_writers_of_other_months_are_not_blocked_while_a_month_waits_to_be_detached(
    connection: Any, database: Database, write: Any
) -> None:
    async with lock_table(database, METERS, "ACCESS SHARE"):
        working = asyncio.create_task(drop_expired_months(connection, NOW, 400, None))

        async def pending() -> bool:
            return bool(await database.value("SELECT count(*) FROM pg_inherits WHERE inhdetachpending"))

        await until(pending, "DETACH waits for the reader")
        await write(meter=[meter()])
        assert not working.done()
    await working
    assert len(await rows(database, METERS)) == 1
