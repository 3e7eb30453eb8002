"""Sessions: what they set themselves whatever the database says, and which server of several they are opened on."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from pydantic import SecretStr

from consumer.storage.offsets import StoredOffsets
from consumer.storage.store import Store
from sql.connection import (
    PROBE_SETTINGS,
    READ_ONLY,
    READER_SETTINGS,
    SESSION,
    WRITER_SETTINGS,
    connect,
    pool,
)
from sql.queries import queries
from tests.support.command import sql_command
from tests.support.database import Database, waits_for_lock
from tests.support.records import batch, meter, records
from tests.support.waiting import until

pytestmark = pytest.mark.anyio
INHERITED = {
    "search_path": "pg_catalog",
    "default_transaction_isolation": "repeatable read",
    "synchronous_commit": "off",
    "timezone": "Asia/Kathmandu",
    "datestyle": "German",
    "intervalstyle": "sql_standard",
    "extra_float_digits": "-5",
    "bytea_output": "escape",
    "standard_conforming_strings": "off",
    "row_security": "off",
    "statement_timeout": "1ms",
    "lock_timeout": "1ms",
    "idle_session_timeout": "1s",
    "jit": "on",
}
SELECT_SETTINGS = "SELECT name, current_setting(name) AS setting FROM unnest($1::text[]) AS name"
HOUR = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=5)


async def set_for_the_database(database: Database, settings: dict[str, str]) -> None:
    statements = [f"ALTER DATABASE {database.name} SET {name} = '{value}'" for name, value in settings.items()]
    await database.execute("; ".join(statements))


@pytest.fixture
async def hostile(stack: Any, database: Database) -> Database:
    """A database whose settings change the meaning or the durability of statements."""
    assert INHERITED.keys() == SESSION.keys()
    await set_for_the_database(database, INHERITED)
    return database


async def settings_of(connection: Any) -> dict[str, str]:
    return {row["name"]: row["setting"] for row in await connection.fetch(SELECT_SETTINGS, list(SESSION))}


@pytest.mark.parametrize("kind", [{}, READ_ONLY, WRITER_SETTINGS, READER_SETTINGS, PROBE_SETTINGS])
async def test_no_session_inherits_what_its_statements_rely_on(hostile: Database, kind: dict[str, str]) -> None:
    url = SecretStr(hostile.migrator_url)
    expected = {name: value for name, value in SESSION.items() if kind.get(name, value) == value}
    alone = await connect(url, server_settings=kind)
    assert (await settings_of(alone)).items() >= expected.items()
    await alone.close()
    async with pool(url, size=1, server_settings=kind, command_timeout=30) as pooled:
        for _ in range(2):  # the second time after the reset of a released connection
            async with pooled.acquire() as connection:
                assert (await settings_of(connection)).items() >= expected.items()


async def test_a_reading_is_marked_late_under_a_stricter_default_isolation(database: Database) -> None:
    """The writer waits for the refresh that moves late_before, and must then see the new instant."""
    await set_for_the_database(database, {"default_transaction_isolation": "repeatable read"})
    partition = TopicPartition("meter-readings", 0)
    async with pool(SecretStr(database.writer_url), size=2, server_settings=WRITER_SETTINGS, command_timeout=30) as to:
        await StoredOffsets(to, "test").insert_missing({partition: 0})
        refreshing = await connect(SecretStr(database.migrator_url), server_settings={})
        async with refreshing.transaction():
            await queries.wait_for_writers(refreshing)
            await queries.move_late_before(refreshing, instant=HOUR + timedelta(hours=1))
            write = batch(records([meter("METER-1", HOUR)], topic=partition.topic))
            writing = asyncio.create_task(Store(to, "test").write(write))
            await until(lambda: waits_for_lock(database), "the writer waits for the refresh")
        await writing
        await refreshing.close()
    marked = await database.fetch("SELECT side, device_id, hour FROM late_hours")
    assert [tuple(row) for row in marked] == [("meter", "METER-1", HOUR)]


async def test_migrations_and_maintenance_do_not_inherit_settings(
    database: Database, environment: dict[str, str], tmp_path: Path
) -> None:
    await database.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    await set_for_the_database(database, INHERITED)
    sql = sql_command(environment, database, tmp_path)
    await sql.succeed("migrate")
    await sql.succeed("maintain", "--once")
