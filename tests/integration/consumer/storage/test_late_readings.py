"""Readings of days that are folded, or are being folded: stored beside the folded rows, and counted exactly as others are."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from consumer.records.batch import BatchResult
from schemas.records.readings import Reason
from tests.support.database import Database
from tests.support.database_rows import begin_folding, finish_folding, merge_late_readings
from tests.support.records import meter, minute, register, vehicle

pytestmark = pytest.mark.anyio
MIDNIGHT = minute(12 * 60)  # of the night after the readings' day
METERS = "SELECT recorded_at, kwh_consumed_ac FROM meter_readings ORDER BY recorded_at"
VEHICLES = "SELECT recorded_at, kwh_delivered_dc FROM vehicle_readings ORDER BY recorded_at"
Write = Callable[..., Awaitable[BatchResult]]


@pytest.fixture
async def owner(database: Database) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(database.migrator_url)
    yield opened
    await opened.close()


@pytest.fixture(params=["being folded", "folded", "merged"])
async def day(request: pytest.FixtureRequest, owner: Any, write: Write) -> None:
    """Three readings of each type at noon, 12:01 and 12:03, of a day that is in some state of folding."""
    await write(meter=[meter(at=minute(n)) for n in (0, 1, 3)], vehicle=[vehicle(at=minute(n)) for n in (0, 1, 3)])
    await begin_folding(owner, MIDNIGHT)
    if request.param != "being folded":
        await finish_folding(owner)
    if request.param == "merged":
        await write(meter=[meter(at=minute(1.5))], vehicle=[vehicle(at=minute(1.5))])
        await merge_late_readings(owner)


@pytest.mark.usefixtures("day")
async def test_readings_of_a_folded_day_are_counted_as_others_are(write: Write, owner: Any) -> None:
    before = await owner.fetch(METERS)
    values = {
        "meter": [meter(at=minute(2)), meter(at=minute(1)), meter(at=minute(3), kwh=0.9), meter(at=minute(2))],
        "vehicle": [vehicle(at=minute(2)), vehicle(at=minute(1)), vehicle(at=minute(3), kwh=0.9), vehicle(at=minute(2), kwh=0.9)],
    }  # fmt: skip

    result = await write(**values)

    assert result.written == {"meter-readings": 1, "vehicle-readings": 1}
    assert result.duplicates == {"meter-readings": 2, "vehicle-readings": 1}
    assert result.dead_letters == {
        ("meter-readings", Reason.CONFLICTING_READING): 1,
        ("vehicle-readings", Reason.CONFLICTING_READING): 2,
    }
    for query, kwh in ((METERS, 0.5), (VEHICLES, 0.4)):
        rows = [tuple(row) for row in await owner.fetch(query)]
        assert len(rows) == len(before) + 1
        assert rows.count((minute(2), kwh)) == 1
        assert {value for _, value in rows} == {kwh}, "the reading that was stored first is kept"
    assert await owner.fetchval("SELECT count(*) FROM late_hours") == 0


@pytest.mark.usefixtures("day")
async def test_of_contradicting_copies_in_one_batch_the_first_is_stored(write: Write, owner: Any) -> None:
    """Of many devices, for which another plan is chosen than for a few."""
    values = [meter(f"METER-{device}", minute(5), kwh) for device in range(200) for kwh in _in_some_order(device)]

    result = await write(meter=values)

    assert result.written == {"meter-readings": 200}
    assert result.dead_letters == {("meter-readings", Reason.CONFLICTING_READING): 200}
    rows = await owner.fetch("SELECT meter_id, kwh_consumed_ac FROM meter_readings WHERE recorded_at = $1", minute(5))
    assert {row[0]: row[1] for row in rows} == {f"METER-{n}": _in_some_order(n)[0] for n in range(200)}


def _in_some_order(device: int) -> tuple[float, float]:
    return (0.25, 0.75) if device % 2 else (0.75, 0.25)


@pytest.mark.usefixtures("day")
async def test_one_batch_may_hold_readings_of_both_sides_of_the_watermark(write: Write, owner: Any) -> None:
    last, first = MIDNIGHT - timedelta(microseconds=1), MIDNIGHT
    before = await owner.fetchval("SELECT count(*) FROM meter_late_readings")

    result = await write(meter=[meter(at=first), meter(at=last), meter("OTHER", last), meter(at=last)])

    assert (result.written, result.duplicates) == ({"meter-readings": 3}, {"meter-readings": 1})
    assert await owner.fetchval("SELECT count(*) FROM meter_late_readings") == before + 2
    assert await owner.fetch("SELECT recorded_at FROM meter_telemetry_history WHERE recorded_at >= $1", MIDNIGHT) == [
        (first,)
    ]
    live = await owner.fetch("SELECT meter_id, recorded_at FROM meter_live_status ORDER BY meter_id")
    assert [tuple(row) for row in live] == [("METER-001", first), ("OTHER", last)]


async def test_a_merge_waits_for_writers_of_late_readings_alone(write: Write, owner: Any, database: Database) -> None:
    await begin_folding(owner, MIDNIGHT)
    await finish_folding(owner)
    await write(meter=[meter(at=minute(0))])
    writer = await asyncpg.connect(database.writer_url)
    async with writer.transaction():
        await writer.execute("SELECT hold_merging()")
        await owner.execute("SET lock_timeout = '200ms'")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await merge_late_readings(owner)
    await writer.close()

    async with owner.transaction():
        await merge_late_readings(owner)
        async with asyncio.timeout(20):
            result = await write(meter=[meter(at=MIDNIGHT)])
        assert result.written == {"meter-readings": 1}
    assert await owner.fetchval("SELECT count(*) FROM meter_readings") == 2


async def test_a_consumer_of_the_previous_version_is_refused_once_days_are_folded(
    database: Database, owner: Any
) -> None:
    writer = await asyncpg.connect(database.writer_url)
    assert await writer.fetchval("SELECT hold_late_before()") is not None
    await begin_folding(owner, MIDNIGHT)
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="this consumer is older than the schema"):
        await writer.fetchval("SELECT hold_late_before()")
    await writer.close()


async def test_registers_are_derived_from_rows_where_these_hold_the_one_before(write: Write, owner: Any) -> None:
    """Folded days are not even asked: a call for each meter took as long as half of the batch."""
    await write(register=[register(at=minute(0), kwh=10)])
    await begin_folding(owner, MIDNIGHT)
    await finish_folding(owner)
    await write(register=[register(at=MIDNIGHT, kwh=11)])
    await owner.execute(
        "CREATE OR REPLACE FUNCTION registers_before(before timestamptz, meter text, earliest timestamptz, latest timestamptz, "
        "number_after bigint) RETURNS SETOF register_readings LANGUAGE plpgsql AS 'BEGIN RAISE ''asked''; END'"
    )
    await write(register=[register(at=MIDNIGHT + timedelta(minutes=1), kwh=11.5)])
    assert await owner.fetch("SELECT kwh_consumed_ac FROM meter_readings ORDER BY recorded_at") == [(0,), (1,), (0.5,)]


async def test_registers_of_many_meters_go_on_from_where_each_of_them_stood(write: Write, owner: Any) -> None:
    """In one call: of a meter with a row before it, of one whose readings are all folded, and of a new one."""
    await write(register=[register("ROW", minute(0), 10), register("FOLDED", minute(0), 20)])
    await begin_folding(owner, MIDNIGHT)
    await finish_folding(owner)
    await write(register=[register("ROW", MIDNIGHT, 11)])
    later = MIDNIGHT + timedelta(minutes=30)
    await write(register=[register("ROW", later, 13), register("FOLDED", later, 25), register("NEW", later, 30)])
    rows = await owner.fetch("SELECT meter_id, recorded_at, kwh_consumed_ac FROM meter_readings ORDER BY 1, 2")
    assert [tuple(row) for row in rows] == [
        ("FOLDED", minute(0), 0), ("FOLDED", later, 5), ("NEW", later, 0),
        ("ROW", minute(0), 0), ("ROW", MIDNIGHT, 1), ("ROW", later, 2),
    ]  # fmt: skip
