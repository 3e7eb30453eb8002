"""Keys of history get smaller while readings go on: of a month that is over once, of one that is written as it grows."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from sql.maintenance import reindexing as packing
from sql.maintenance.reindexing import pack_indexes
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
# Hour by hour all devices: each device's run in the index grows at its end, and its pages are split in halves.
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


async def test_a_finished_month_gets_smaller_once_while_readings_go_on(
    connection: Any, database: Database, write: Any
) -> None:
    await interleaved(database)
    before, rows = await size(database), METERS * MINUTES
    assert await pack_indexes(connection, AFTER - timedelta(seconds=1), most=2**35) == [], (
        "late readings are still to come"
    )

    async def go_on() -> int:
        written = 0
        while not building.done():
            await write(meter=[meter(at=minute(written))])
            written += 1
        return written

    building = asyncio.create_task(pack_indexes(connection, AFTER, most=0))
    written = await go_on()
    assert await building == [f"{PART}_pkey"]
    assert written > 0

    after = await size(database)
    assert after < before * 0.75, f"{before / rows:.1f} B of index a reading before, {after / rows:.1f} after"
    (kept,) = await database.fetch("SELECT index_name, bytes_before, bytes_after FROM packed_indexes")
    assert tuple(kept) == (f"{PART}_pkey", before, after)
    assert await pack_indexes(connection, AFTER, most=0) == [], "not twice"
    assert await database.value("SELECT bool_and(indisvalid) FROM pg_index")
    assert await database.value(f"SELECT count(*) FROM {PART}") >= rows


async def test_a_month_that_is_written_is_packed_whenever_its_key_has_grown_by_half_and_once_more_at_its_end(
    connection: Any, database: Database
) -> None:
    during, key = LAST + timedelta(days=20), f"{PART}_pkey"

    async def pack(now: datetime = during, **changes: Any) -> list[str]:
        return await pack_indexes(connection, now, **({"least": 2**20, "most": 2**35} | changes))

    async def grow(first: int, beyond: int) -> None:
        await interleaved(database, first, beyond, meters=20)

    await grow(0, 3000)
    assert await pack(least=2**26) == [], "it is too small"
    assert await pack(most=2**20) == [], "it is too large"
    assert await pack(most=0) == [], "it is not over"
    assert await pack() == [key]
    packed = await size(database)
    assert await pack() == []

    await grow(3000, 3300)
    assert packed < await size(database) < 1.5 * packed
    assert await pack() == []
    await grow(3300, 4500)
    assert await size(database) > 1.5 * packed
    assert await pack() == [key]

    await grow(4500, 4600)
    assert await pack() == []
    assert await pack(AFTER) == [key], "whatever it has grown by, it is over now"
    assert await pack(AFTER + timedelta(days=1)) == []


@asynccontextmanager
async def held_up(database: Database, phase: str, statement: str) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
    """Keeps a build from getting past a phase; gives a function that waits until it is there."""
    holder = await asyncpg.connect(database.migrator_url)

    async def there() -> bool:
        return bool(await database.value("SELECT count(*) FROM pg_stat_progress_create_index WHERE phase = $1", phase))

    try:
        await holder.execute(statement)
        yield lambda: until(there, f"the build is {phase}")
    finally:
        await holder.close()


def held_before_the_build(database: Database) -> AbstractAsyncContextManager[Callable[[], Awaitable[Any]]]:
    return held_up(database, "waiting for writers before build", f"BEGIN; LOCK TABLE {PART} IN ROW EXCLUSIVE MODE")


async def invalid_indexes(database: Database) -> int:
    return int(await database.value("SELECT count(*) FROM pg_index WHERE NOT indisvalid"))


async def test_readings_are_told_from_their_copies_while_the_key_that_tells_them_is_built_anew(
    connection: Any, database: Database, write: Any
) -> None:
    await interleaved(database)
    before = await database.value(f"SELECT count(*) FROM {PART}")
    # Both keys are written to by then, and a copy meets both.
    old_snapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1"
    async with held_up(database, "waiting for old snapshots", old_snapshot) as until_held:
        building = asyncio.create_task(pack_indexes(connection, LAST + timedelta(days=20), least=2**20, most=2**35))
        await until_held()
        for number in range(30):
            fresh = meter(f"METER-{number % METERS + 1:05}", LAST + timedelta(minutes=MINUTES + number))
            older = meter("METER-00007", LAST + timedelta(minutes=number), kwh=1, voltage=230)
            outcome = await write(meter=[fresh, fresh, older])
            assert (outcome.written.total(), outcome.duplicates.total()) == (1, 2)
        assert not building.done()

    assert await building == [f"{PART}_pkey"]
    assert await database.value(f"SELECT count(*) FROM {PART}") == before + 30


async def test_a_packing_that_fails_leaves_nothing_behind_and_does_not_keep_others_from_theirs(
    connection: Any, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await interleaved(database)
    other = "vehicle_telemetry_history"
    await database.fetch(
        f"INSERT INTO {other} (vehicle_id, recorded_at, kwh_delivered_dc, soc, battery_temp) "
        "SELECT 'VEH-1', $1::timestamptz + n * interval '1 s', 1, 50, 20 FROM generate_series(1, 40000) AS n",
        LAST,
    )
    monkeypatch.setattr(packing, "PATIENCE", "200ms")

    async def is_dropped() -> bool:
        asked = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DROP INDEX%' AND datname = current_database()"
        return bool(await database.value(asked))

    async with held_before_the_build(database):
        building = asyncio.create_task(pack_indexes(connection, AFTER, most=0))
        await until(is_dropped, "the build has failed, and what it left is being dropped")
    with pytest.raises(asyncpg.LockNotAvailableError):
        await building
    assert await invalid_indexes(database) == 0
    assert await database.value("SELECT index_name FROM packed_indexes WHERE packed_at IS NOT NULL") == (
        f"{other}_y{LAST:%Ym%m}_pkey"
    )
    assert await connection.fetchval("SHOW lock_timeout") == "30s", "as the session was opened"
    assert await pack_indexes(connection, AFTER, most=0) == [f"{PART}_pkey"]


async def test_a_packing_that_was_killed_is_begun_again_unless_it_is_not_wanted_any_more(
    connection: Any, database: Database
) -> None:
    during = LAST + timedelta(days=20)
    await interleaved(database)
    killed = await connect_as_maintenance(database)
    async with held_before_the_build(database) as until_held:
        building = asyncio.create_task(pack_indexes(killed, during, least=2**20, most=2**35))
        await until_held()
        await database.execute(f"SELECT pg_terminate_backend({killed.get_server_pid()})")
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await building
    assert await invalid_indexes(database) == 1
    assert await pack_indexes(connection, during, least=2**20, most=0) == []
    assert await invalid_indexes(database) == 0
    assert await pack_indexes(connection, during, most=2**35) == [f"{PART}_pkey"], "small as it is"


async def test_an_index_that_was_built_before_the_kill_is_not_built_again(connection: Any, database: Database) -> None:
    await interleaved(database)
    await pack_indexes(connection, AFTER, most=0)
    await database.execute("UPDATE packed_indexes SET packed_at = NULL, bytes_after = NULL")
    number = await database.value(f"SELECT '{PART}_pkey'::regclass::oid")
    assert await pack_indexes(connection, AFTER, most=0) == [f"{PART}_pkey"]
    assert await database.value(f"SELECT '{PART}_pkey'::regclass::oid") == number
    assert await database.value("SELECT count(*) FROM packed_indexes WHERE packed_at IS NULL") == 0


async def test_the_planner_is_told_of_partitioned_tables_weekly_and_when_they_have_grown(
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
