"""Keys of history get smaller while readings go on: of a month that is over once, of one that is written as it grows."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from sql.packing import pack_indexes
from sql.statistics import refresh_statistics
from tests.old_months import connect
from tests.records import meter, minute
from tests.servers import Database
from tests.waiting import until

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
    connected = await connect(database)
    yield connected
    connected.terminate()


async def interleaved(database: Database, first: int = 0, beyond: int = MINUTES, *, meters: int = METERS) -> None:
    connected = await connect(database)
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
        while not packing.done():
            await write(meter=[meter(at=minute(written))])
            written += 1
        return written

    packing = asyncio.create_task(pack_indexes(connection, AFTER, most=0))
    written = await go_on()
    assert await packing == [f"{PART}_pkey"]
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


async def test_readings_are_told_from_their_copies_while_the_key_that_tells_them_is_built_anew(
    connection: Any, database: Database, write: Any
) -> None:
    await interleaved(database)
    before = await database.value(f"SELECT count(*) FROM {PART}")
    packing = asyncio.create_task(pack_indexes(connection, LAST + timedelta(days=20), least=2**20, most=2**35))
    written = 0
    while not packing.done() or written < 10:
        fresh = meter(meter_id=f"METER-00{written % METERS:03}", at=LAST + timedelta(minutes=MINUTES + written))
        older = meter(meter_id="METER-00007", at=LAST + timedelta(minutes=written % MINUTES), kwh=1, voltage=230)
        outcome = await write(meter=[fresh, fresh, older])
        assert outcome.written.total() == 1
        assert outcome.duplicates.total() == 2
        written += 1

    assert await packing == [f"{PART}_pkey"]
    assert await database.value(f"SELECT count(*) FROM {PART}") == before + written


async def test_what_an_interrupted_packing_has_left_is_removed(connection: Any, database: Database) -> None:
    await interleaved(database)
    holder = await asyncpg.connect(database.migrator_url)
    try:
        await holder.execute(
            f"BEGIN; INSERT INTO {PART} SELECT * FROM {PART} LIMIT 0; LOCK TABLE {PART} IN ROW EXCLUSIVE MODE"
        )
        await connection.execute("SET lock_timeout = '200ms'")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await pack_indexes(connection, AFTER, most=0)
        assert await database.value("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == 1
    finally:
        await holder.close()
    await connection.execute("SET lock_timeout = '30s'")
    assert await pack_indexes(connection, AFTER, most=0) == [f"{PART}_pkey"]
    assert await database.value("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == 0


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
