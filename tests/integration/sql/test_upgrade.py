"""Migrations while readings are written: a migration that waits for a lock does not block writers for long."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from sql.migrate import LockTimeoutError, MigrationError, migrate
from sql.settings import SqlSettings
from tests.support.database import Database
from tests.support.records import meter, minute, vehicle
from tests.support.repository.migrations import add_column, create_index, create_partitioned_index
from tests.support.repository.migrations import extended_migrations as with_more
from tests.support.waiting import until

pytestmark = pytest.mark.anyio
LOCK_TIMEOUT_MS = 1000
STALL_SECONDS = 5  # without a lock timeout, writers would wait as long as the reader stays
PARTS = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = $1::regclass ORDER BY 1"
VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)"


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """The migrations, and one more that needs an exclusive lock on a table."""
    return with_more(tmp_path / "migrations", [add_column("vehicle_live_status", "odometer")])


def settings(database: Database, give_up_seconds: float) -> SqlSettings:
    return SqlSettings(
        database_url=SecretStr(database.migrator_url),
        migrate_lock_timeout_ms=LOCK_TIMEOUT_MS,
        migrate_give_up_seconds=give_up_seconds,
    )


async def columns(database: Database) -> set[str]:
    rows = await database.fetch(
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'vehicle_live_status'"
    )
    return {row[0] for row in rows}


@asynccontextmanager
async def writing_on(write: Any) -> AsyncIterator[list[float]]:
    """Writes readings of both types for the duration of the block; yields the list of write durations in seconds."""
    took: list[float] = []
    enough = asyncio.Event()

    async def keep_writing() -> None:
        while not enough.is_set():
            began = time.monotonic()
            at = minute(len(took))
            await write(meter=[meter(at=at)], vehicle=[vehicle(at=at)])
            took.append(time.monotonic() - began)

    writing = asyncio.create_task(keep_writing())
    try:
        yield took
    finally:
        enough.set()
        await asyncio.wait({writing})
    writing.result()


async def one_more(took: list[float]) -> None:
    before = len(took)

    async def written() -> bool:
        return len(took) > before

    await until(written, "one more reading is written")


async def waited(migrating: "asyncio.Task[None]", logged: list[Any], times: int) -> bool:
    assert not migrating.done(), migrating.exception()
    return [line["event"] for line in logged].count("migration_lock_timeout") >= times


async def test_writers_continue_while_a_migration_waits_for_a_long_reader(
    database: Database, newer: Path, write: Any
) -> None:
    reader = await asyncpg.connect(database.migrator_url, server_settings={"application_name": "a-long-report"})
    reading = reader.transaction()
    await reading.start()
    await reader.execute("SELECT count(*) FROM vehicle_live_status")
    async with writing_on(write) as took:
        try:
            with capture_logs() as logged:
                migrating = asyncio.create_task(migrate(settings(database, 300), newer))
                await until(lambda: waited(migrating, logged, 2), "the migration has waited twice")
                assert "odometer" not in await columns(database)
                await one_more(took)
                await reading.rollback()
                await migrating
        finally:
            await reader.close()

    assert "odometer" in await columns(database)
    assert max(took) < STALL_SECONDS
    waits = next(line for line in logged if line["event"] == "migration_lock_timeout")
    assert waits["oldest_transaction_of"] == "a-long-report", "the log names the blocking session"


async def test_a_migration_that_never_gets_its_lock_fails_and_changes_nothing(database: Database, newer: Path) -> None:
    reader = await asyncpg.connect(database.migrator_url)
    try:
        async with reader.transaction():
            await reader.execute("SELECT count(*) FROM vehicle_live_status")
            with pytest.raises(LockTimeoutError, match="lock timeout"):
                await migrate(settings(database, 2), newer)
            assert "odometer" not in await columns(database)
    finally:
        await reader.close()
    await migrate(settings(database, 60), newer)
    assert "odometer" in await columns(database)


async def test_a_lock_timeout_is_recognised_by_its_code_in_any_language(database: Database, tmp_path: Path) -> None:
    german = "storniere Anfrage wegen Zeitüberschreitung einer Sperre"
    raised = "-- migrate:up\nDO $$ BEGIN RAISE EXCEPTION '{}' USING ERRCODE = '{}'; END $$;\n\n-- migrate:down\n"
    newer = with_more(tmp_path / "locked", [raised.format(german, "55P03")])
    with pytest.raises(LockTimeoutError, match=german):
        await migrate(settings(database, 1), newer)
    newer = with_more(tmp_path / "wrong", [raised.format("canceling statement due to lock timeout", "22000")])
    with pytest.raises(MigrationError) as failed:
        await migrate(settings(database, 1), newer)
    assert not isinstance(failed.value, LockTimeoutError)


async def test_an_index_is_built_on_every_month_of_a_history_while_writers_continue(
    database: Database, tmp_path: Path, write: Any
) -> None:
    parts = [row[0] for row in await database.fetch(PARTS, "meter_telemetry_history")]
    indexed = create_partitioned_index("meter_telemetry_history", parts, "later", "ingested_at")
    async with writing_on(write) as took:
        await one_more(took)
        before = len(took)
        await migrate(settings(database, 300), with_more(tmp_path / "migrations", indexed))
        during = len(took) - before
        await one_more(took)
    assert during > 0, "readings were written during the build"
    assert max(took) < STALL_SECONDS
    assert await database.value(VALID, "later"), "the index of the whole table is complete"
    assert len(parts) == await database.value("SELECT count(*) FROM pg_inherits WHERE inhparent = 'later'::regclass")
    assert await database.value("SELECT count(*) FROM meter_telemetry_history") == len(took)


async def test_an_invalid_index_of_a_failed_attempt_is_rebuilt(database: Database, tmp_path: Path, write: Any) -> None:
    migrations = with_more(tmp_path / "migrations", [create_index("vehicle_live_status", "later", "soc")])
    other = await asyncpg.connect(database.migrator_url, server_settings={"application_name": "a-long-import"})
    async with writing_on(write) as took:
        try:
            with capture_logs() as logged:
                async with other.transaction():
                    await other.execute("LOCK TABLE vehicle_live_status IN ROW EXCLUSIVE MODE")  # as writers do
                    migrating = asyncio.create_task(migrate(settings(database, 300), migrations))
                    await until(lambda: waited(migrating, logged, 2), "the migration has waited twice")
                    assert await database.value(VALID, "later") is False, "the failed attempt has left an invalid index"
                    await one_more(took)
                await asyncio.gather(migrating, migrate(settings(database, 300), migrations))
        finally:
            await other.close()
        await one_more(took)
    assert await database.value(VALID, "later")
    assert max(took) < STALL_SECONDS
