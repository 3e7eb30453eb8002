"""Migrations while readings flow: whoever waits for a lock does not make the writers wait for long."""

import asyncio
import shutil
import time
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from sql.migrate import MIGRATIONS, LockNotGotError, migrate
from sql.settings import SqlSettings
from tests.records import minute, vehicle
from tests.servers import Database
from tests.waiting import until

pytestmark = pytest.mark.anyio
LOCK_TIMEOUT_MS = 1000
STALL_SECONDS = 15  # generous, for a busy machine; without a lock time-out it would be as long as the reader stays


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """The migrations, and one more that needs a table for itself."""
    directory = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, directory)
    (directory / "29990101000001_more.sql").write_text(
        "-- migrate:up\nALTER TABLE vehicle_live_status ADD COLUMN odometer integer;\n-- migrate:down\n"
    )
    return directory


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


async def test_writers_go_on_while_a_migration_waits_behind_a_long_reader(
    database: Database, newer: Path, write: Any
) -> None:
    reader = await asyncpg.connect(database.migrator_url, server_settings={"application_name": "a-long-report"})
    reading = reader.transaction()
    await reading.start()
    await reader.execute("SELECT count(*) FROM vehicle_live_status")
    took: list[float] = []

    async def keep_writing() -> None:
        while True:
            began = time.monotonic()
            await write(vehicle=[vehicle(at=minute(len(took)))])
            took.append(time.monotonic() - began)

    writing = asyncio.create_task(keep_writing())
    try:
        with capture_logs() as logged:
            migrating = asyncio.create_task(migrate(settings(database, 300), newer))

            async def tried_twice() -> bool:
                assert not writing.done(), writing.exception()
                assert not migrating.done(), migrating.exception()
                return [line["event"] for line in logged].count("migration_waits_for_a_lock") >= 2

            await until(tried_twice, "the migration has waited twice")
            assert "odometer" not in await columns(database)
            written = len(took)
            await until(lambda: _more(took, written), "readings are written between its attempts")
            await reading.rollback()
            await migrating
    finally:
        writing.cancel()
        await asyncio.wait({writing})
        await reader.close()

    assert "odometer" in await columns(database)
    assert max(took) < STALL_SECONDS
    waits = next(line for line in logged if line["event"] == "migration_waits_for_a_lock")
    assert waits["oldest_transaction_of"] == "a-long-report", "an operator is told who is in the way"


async def _more(took: list[float], before: int) -> bool:
    return len(took) > before


async def test_a_migration_that_never_gets_its_lock_is_given_up_and_has_changed_nothing(
    database: Database, newer: Path
) -> None:
    reader = await asyncpg.connect(database.migrator_url)
    try:
        async with reader.transaction():
            await reader.execute("SELECT count(*) FROM vehicle_live_status")
            with pytest.raises(LockNotGotError, match="lock timeout"):
                await migrate(settings(database, 2), newer)
            assert "odometer" not in await columns(database)
    finally:
        await reader.close()
    await migrate(settings(database, 60), newer)
    assert "odometer" in await columns(database)
