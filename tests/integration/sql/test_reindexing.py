"""Reindexing of history while readings are written: a finished month once, the current month as it grows."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from sql.maintenance import reindexing
from sql.maintenance.reindexing import reindex_primary_keys
from sql.maintenance.statistics import refresh_statistics
from tests.support.database import Database
from tests.support.expired_months import connect_as_maintenance
from tests.support.records import meter, minute
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

NOW = datetime.now(UTC)
LAST = (NOW.replace(day=1) - timedelta(days=20)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
AFTER = (LAST + timedelta(days=32)).replace(day=1) + timedelta(days=2)
PART = f"meter_telemetry_history_y{LAST:%Ym%m}"
# Interleaved by time: each device's run in the index grows at its end, where pages are split in half.
FILL = """
INSERT INTO meter_telemetry_history (meter_id, recorded_at, kwh_consumed_ac, voltage)
SELECT 'METER-' || lpad(meter::text, 5, '0'), $1::timestamptz + ($2::integer + minute) * interval '1 min', 1, 230
FROM generate_series(1, $3) AS meter, generate_series(0, 9) AS minute ORDER BY meter, minute"""
METERS = 200
MINUTES = 500


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Any]:
    connected = await connect_as_maintenance(database)
    yield connected
    connected.terminate()


async def interleaved(database: Database, first: int = 0, beyond: int = MINUTES, *, meters: int = METERS) -> None:
    connected = await connect_as_maintenance(database)
    for begins in range(first, beyond, 10):
        await connected.execute(FILL, LAST, begins, meters)
    await connected.close()


async def size(database: Database) -> int:
    return int(await database.value(f"SELECT pg_relation_size('{PART}_pkey')"))


async def test_a_finished_month_is_reindexed_once_while_readings_are_written(
    connection: Any, database: Database, write: Any
) -> None:
    await interleaved(database)
    before, rows = await size(database), METERS * MINUTES
    assert await reindex_primary_keys(connection, AFTER - timedelta(seconds=1), max_bytes=2**35) == [], (
        "late readings are still to come"
    )

    async def go_on() -> int:
        written = 0
        while not building.done():
            await write(meter=[meter(at=minute(written))])
            written += 1
        return written

    building = asyncio.create_task(reindex_primary_keys(connection, AFTER, max_bytes=0))
    written = await go_on()
    assert await building == [f"{PART}_pkey"]
    assert written > 0

    after = await size(database)
    assert after < before * 0.75, f"{before / rows:.1f} B of index a reading before, {after / rows:.1f} after"
    (kept,) = await database.fetch("SELECT index_name, bytes_before, bytes_after FROM packed_indexes")
    assert tuple(kept) == (f"{PART}_pkey", before, after)
    assert await reindex_primary_keys(connection, AFTER, max_bytes=0) == [], "not twice"
    assert await database.value("SELECT bool_and(indisvalid) FROM pg_index")
    assert await database.value(f"SELECT count(*) FROM {PART}") >= rows


async def test_the_current_month_is_reindexed_whenever_its_key_has_grown_by_half_and_once_more_at_its_end(
    connection: Any, database: Database
) -> None:
    during, key = LAST + timedelta(days=20), f"{PART}_pkey"

    async def reindex(now: datetime = during, **changes: Any) -> list[str]:
        return await reindex_primary_keys(connection, now, **({"min_bytes": 2**20, "max_bytes": 2**35} | changes))

    async def grow(first: int, beyond: int) -> None:
        await interleaved(database, first, beyond, meters=20)

    await grow(0, 3000)
    assert await reindex(min_bytes=2**26) == [], "it is too small"
    assert await reindex(max_bytes=2**20) == [], "it is too large"
    assert await reindex(max_bytes=0) == [], "it is not over"
    assert await reindex() == [key]
    rebuilt = await size(database)
    assert await reindex() == []

    await grow(3000, 3300)
    assert rebuilt < await size(database) < 1.5 * rebuilt
    assert await reindex() == []
    await grow(3300, 4500)
    assert await size(database) > 1.5 * rebuilt
    assert await reindex() == [key]

    await grow(4500, 4600)
    assert await reindex() == []
    assert await reindex(AFTER) == [key], "whatever it has grown by, it is over now"
    assert await reindex(AFTER + timedelta(days=1)) == []


@asynccontextmanager
async def blocked_build(database: Database, phase: str, statement: str) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
    """Blocks a build in a phase; yields a function that waits until the build has reached it."""
    holder = await asyncpg.connect(database.migrator_url)

    async def there() -> bool:
        return bool(await database.value("SELECT count(*) FROM pg_stat_progress_create_index WHERE phase = $1", phase))

    try:
        await holder.execute(statement)
        yield lambda: until(there, f"the build is {phase}")
    finally:
        await holder.close()


def blocked_before_the_build(database: Database) -> AbstractAsyncContextManager[Callable[[], Awaitable[Any]]]:
    return blocked_build(
        database, "waiting for writers before build", f"BEGIN; LOCK TABLE {PART} IN ROW EXCLUSIVE MODE"
    )


async def invalid_indexes(database: Database) -> int:
    return int(await database.value("SELECT count(*) FROM pg_index WHERE NOT indisvalid"))


async def test_duplicates_are_recognized_while_the_primary_key_is_rebuilt(
    connection: Any, database: Database, write: Any
) -> None:
    await interleaved(database)
    before = await database.value(f"SELECT count(*) FROM {PART}")
    # In this phase both the old and the new key are written to, so a duplicate meets both.
    old_snapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1"
    async with blocked_build(database, "waiting for old snapshots", old_snapshot) as until_blocked:
        building = asyncio.create_task(
            reindex_primary_keys(connection, LAST + timedelta(days=20), min_bytes=2**20, max_bytes=2**35)
        )
        await until_blocked()
        for number in range(30):
            fresh = meter(f"METER-{number % METERS + 1:05}", LAST + timedelta(minutes=MINUTES + number))
            older = meter("METER-00007", LAST + timedelta(minutes=number), kwh=1, voltage=230)
            outcome = await write(meter=[fresh, fresh, older])
            assert (outcome.written.total(), outcome.duplicates.total()) == (1, 2)
        assert not building.done()

    assert await building == [f"{PART}_pkey"]
    assert await database.value(f"SELECT count(*) FROM {PART}") == before + 30


async def test_a_failed_reindex_leaves_no_index_behind_and_does_not_stop_the_others(
    connection: Any, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await interleaved(database)
    other = "vehicle_telemetry_history"
    await database.fetch(
        f"INSERT INTO {other} (vehicle_id, recorded_at, kwh_delivered_dc, soc, battery_temp) "
        "SELECT 'VEH-1', $1::timestamptz + n * interval '1 s', 1, 50, 20 FROM generate_series(1, 40000) AS n",
        LAST,
    )
    monkeypatch.setattr(reindexing, "LOCK_TIMEOUT", "200ms")

    async def is_dropped() -> bool:
        asked = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DROP INDEX%' AND datname = current_database()"
        return bool(await database.value(asked))

    async with blocked_before_the_build(database):
        building = asyncio.create_task(reindex_primary_keys(connection, AFTER, max_bytes=0))
        await until(is_dropped, "the build has failed, and its leftover is being dropped")
    with pytest.raises(asyncpg.LockNotAvailableError):
        await building
    assert await invalid_indexes(database) == 0
    assert await database.value("SELECT index_name FROM packed_indexes WHERE packed_at IS NOT NULL") == (
        f"{other}_y{LAST:%Ym%m}_pkey"
    )
    assert await connection.fetchval("SHOW lock_timeout") == "30s", "as the session was opened"
    assert await reindex_primary_keys(connection, AFTER, max_bytes=0) == [f"{PART}_pkey"]


async def test_a_killed_reindex_is_started_again_unless_it_is_no_longer_wanted(
    connection: Any, database: Database
) -> None:
    during = LAST + timedelta(days=20)
    await interleaved(database)
    killed = await connect_as_maintenance(database)
    async with blocked_before_the_build(database) as until_blocked:
        building = asyncio.create_task(reindex_primary_keys(killed, during, min_bytes=2**20, max_bytes=2**35))
        await until_blocked()
        await database.execute(f"SELECT pg_terminate_backend({killed.get_server_pid()})")
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await building
    assert await invalid_indexes(database) == 1
    assert await reindex_primary_keys(connection, during, min_bytes=2**20, max_bytes=0) == []
    assert await invalid_indexes(database) == 0
    assert await reindex_primary_keys(connection, during, max_bytes=2**35) == [f"{PART}_pkey"], "small as it is"


async def test_an_index_that_was_rebuilt_before_the_kill_is_not_rebuilt_again(
    connection: Any, database: Database
) -> None:
    await interleaved(database)
    await reindex_primary_keys(connection, AFTER, max_bytes=0)
    await database.execute("UPDATE packed_indexes SET packed_at = NULL, bytes_after = NULL")
    number = await database.value(f"SELECT '{PART}_pkey'::regclass::oid")
    assert await reindex_primary_keys(connection, AFTER, max_bytes=0) == [f"{PART}_pkey"]
    assert await database.value(f"SELECT '{PART}_pkey'::regclass::oid") == number
    assert await database.value("SELECT count(*) FROM packed_indexes WHERE packed_at IS NULL") == 0


async def test_partitioned_tables_are_analyzed_weekly_and_when_they_have_grown(
    connection: Any, database: Database
) -> None:
    everything = await refresh_statistics(connection, NOW)
    assert "meter_telemetry_history" in everything
    assert await refresh_statistics(connection, NOW) == []
    await interleaved(database)
    await connection.execute(f"ANALYZE {PART}")
    assert await refresh_statistics(connection, NOW) == ["meter_telemetry_history"]
    assert set(await refresh_statistics(connection, datetime.now(UTC) + timedelta(days=8))) == set(everything)

    async def known() -> bool:
        found = await database.value("SELECT reltuples FROM pg_class WHERE relname = 'meter_telemetry_history'")
        return bool(found > 0)

    await until(known, "the planner knows how many rows there are")
