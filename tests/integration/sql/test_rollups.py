"""Rollups against a model: after any sequence of writes, refreshes and queries, the totals equal those of history alone."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import fsum
from typing import Any

import asyncpg
import pytest
from aiokafka import TopicPartition
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from consumer.storage.offsets import StoredOffsets
from consumer.storage.store import Store
from sql.connection import WRITER_SETTINGS, pool
from sql.maintenance import rollups
from sql.maintenance.rollups import _move_late_before, refresh_rollups
from sql.queries import queries
from tests.support.database import Database, locked_tables, waits_for_lock
from tests.support.records import batch, meter, records, vehicle
from tests.support.waiting import until

START = (datetime.now(UTC) - timedelta(days=3)).replace(hour=10, minute=0, second=0, microsecond=0)
MINUTES = 300
# VEH-A draws from METER-A and later from METER-B, each from the middle of an hour on, with an unassigned gap between them.
ASSIGNED = (("METER-A", 37, 143), ("METER-B", 190, None))
METERS, VEHICLE = ("METER-A", "METER-B"), "VEH-A"
PARTITIONS = [TopicPartition("meter-readings", 0), TopicPartition("vehicle-readings", 0)]
TABLES = (
    "kafka_offsets, meter_telemetry_history, vehicle_telemetry_history, meter_live_status, vehicle_live_status, "
    "meter_energy_hourly, vehicle_energy_hourly, late_hours"
)


def at(minute: int) -> datetime:
    return START + timedelta(minutes=minute)


def kwh(device: str, minute: int) -> float:
    return (minute * 7 + len(device) * 13 + ord(device[-1])) % 101 / 50


@dataclass(frozen=True, slots=True)
class Write:
    """Writes readings of these minutes, possibly duplicates."""

    readings: list[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Refresh:
    """Refreshes at a minute; `crashes` stops it before the hours are rolled up."""

    minute: int
    crashes: bool


@dataclass(frozen=True, slots=True)
class Query:
    """Queries the minutes [opens, closes)."""

    opens: int
    closes: int


DEVICES = st.sampled_from([*METERS, VEHICLE])
STEPS = st.lists(
    st.builds(Write, st.lists(st.tuples(DEVICES, st.integers(0, MINUTES)), min_size=1, max_size=12))
    | st.builds(Refresh, st.integers(0, MINUTES + 60), st.sampled_from([False, False, True]))
    | st.tuples(st.integers(0, MINUTES), st.integers(1, MINUTES)).map(lambda each: Query(each[0], each[0] + each[1])),
    min_size=3,
    max_size=12,
)


@dataclass(slots=True)
class World:
    """The database, a consumer's store, and the model: the set of stored readings."""

    store: Store
    connection: Any
    offsets: list[int] = field(default_factory=lambda: [0, 0])
    stored: set[tuple[str, int]] = field(default_factory=set)

    async def write(self, readings: list[tuple[str, int]]) -> None:
        values = (
            [meter(device, at(minute), kwh(device, minute)) for device, minute in readings if device != VEHICLE],
            [vehicle(device, at(minute), kwh(device, minute)) for device, minute in readings if device == VEHICLE],
        )
        taken = [
            records(found, topic=partition.topic, offset=self.offsets[number])
            for number, (partition, found) in enumerate(zip(PARTITIONS, values, strict=True))
            if found
        ]
        await self.store.write(batch(*taken))
        self.offsets = [offset + len(found) for offset, found in zip(self.offsets, values, strict=True)]
        self.stored |= set(readings)

    async def check(self, opens: int, closes: int) -> None:
        asked = queries.energy_of(self.connection, vehicle_ids=[VEHICLE], opens=[at(opens)], closes=[at(closes)])
        (found,) = [row async for row in asked]
        periods = [
            (device, max(first, opens), min(closes if last is None else last, closes))
            for device, first, last in ASSIGNED
        ]
        ac = [
            kwh(device, minute)
            for device, first, last in periods
            for each, minute in self.stored
            if each == device and first <= minute < last
        ]
        newest = {device: max(minute for each, minute in self.stored if each == device) for device, _ in self.stored}
        both = [min(newest.get(device, -1), newest.get(VEHICLE, -1)) for device, _, _ in ASSIGNED]
        compared = [
            (device, first, min(last, until + 1)) for (device, first, last), until in zip(periods, both, strict=True)
        ]
        ac_compared = [
            kwh(device, minute)
            for device, first, last in compared
            for each, minute in self.stored
            if each == device and first <= minute < last
        ]
        dc = [minute for device, minute in self.stored if device == VEHICLE and opens <= minute < closes]
        assigned = [minute for minute in dc if any(first <= minute < last for _, first, last in periods)]
        assert (found["ac_points"], found["dc_points"], found["dc_points_assigned"]) == (
            len(ac), len(dc), len(assigned),
        )  # fmt: skip
        of_both = [minute for minute in dc if any(first <= minute < last for _, first, last in compared)]
        assert (found["ac_points_compared"], found["dc_points_compared"]) == (len(ac_compared), len(of_both))
        assert found["ac_kwh_compared"] == pytest.approx(fsum(ac_compared))
        assert found["dc_kwh_compared"] == pytest.approx(fsum(kwh(VEHICLE, minute) for minute in of_both))
        assert found["ac_kwh"] == pytest.approx(fsum(ac))
        assert found["dc_kwh"] == pytest.approx(fsum(kwh(VEHICLE, minute) for minute in dc))
        assert found["dc_kwh_assigned"] == pytest.approx(fsum(kwh(VEHICLE, minute) for minute in assigned))
        assert found["assigned_seconds"] == (60 * sum(max(0, last - first) for _, first, last in periods) or None)


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as running:
        yield running


def test_any_sequence_of_writes_refreshes_and_queries_gives_the_totals_of_history(
    runner: asyncio.Runner, database: Database
) -> None:
    @settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
    @given(STEPS)
    def check(steps: list[Write | Refresh | Query]) -> None:
        runner.run(_run_steps(database, steps))

    runner.run(_assign(database))
    check()


async def _run_steps(database: Database, steps: list[Write | Refresh | Query]) -> None:
    await database.execute(
        f"TRUNCATE {TABLES}; UPDATE rollup_state SET complete_before = '-infinity', late_before = '-infinity'"
    )
    async with pool(SecretStr(database.writer_url), size=2, server_settings=WRITER_SETTINGS, command_timeout=30) as to:
        await StoredOffsets(to, "test").insert_missing(dict.fromkeys(PARTITIONS, 0))
        connection, second = [await asyncpg.connect(database.migrator_url) for _ in range(2)]
        try:
            world = World(Store(to, "test"), connection)
            for step in steps:
                match step:
                    case Write(readings):
                        await world.write(readings)
                    case Refresh(minute, crashes=True):
                        hour = at(minute).replace(minute=0)
                        await _move_late_before(connection, hour)
                    case Refresh(minute):
                        await refresh_rollups(connection, at(minute), grace=timedelta(0), second=second)
                    case Query(opens, closes):
                        await world.check(opens, closes)
            await world.check(0, MINUTES)
            await refresh_rollups(connection, at(MINUTES + 60), grace=timedelta(0))
            await world.check(0, MINUTES)
            assert await connection.fetchval("SELECT count(*) FROM late_hours") == 0
        finally:
            await connection.close()
            await second.close()


async def _assign(database: Database) -> None:
    for device, first, last in ASSIGNED:
        await database.fetch(
            "INSERT INTO vehicle_meter_assignments VALUES ($1, $2, tstzrange($3, $4), 'test')",
            VEHICLE, device, at(first), None if last is None else at(last),
        )  # fmt: skip


@pytest.mark.anyio
async def test_a_refresh_waits_for_a_writer_that_relies_on_the_old_late_before(database: Database) -> None:
    await _assign(database)
    connection = await asyncpg.connect(database.migrator_url)
    async with pool(SecretStr(database.writer_url), size=2, server_settings=WRITER_SETTINGS, command_timeout=30) as to:
        await StoredOffsets(to, "test").insert_missing(dict.fromkeys(PARTITIONS, 0))
        world = World(Store(to, "test"), connection)
        async with locked_tables(database):
            writing = asyncio.create_task(world.write([("METER-A", 40), (VEHICLE, 40)]))
            await until(lambda: waits_for_lock(database), "the writer is blocked")
            with pytest.raises(asyncpg.LockNotAvailableError):
                await refresh_rollups(connection, at(120), grace=timedelta(0))
            assert (await queries.rollup_state(connection))["late_before"] is None, "late_before has not moved"
        await writing
        await refresh_rollups(connection, at(120), grace=timedelta(0))
        await world.check(0, 120)
        assert await connection.fetchval("SELECT sum(readings) FROM meter_energy_hourly") == 1
        assert await connection.fetchval("SELECT count(*) FROM late_hours") == 0, "the reading was on time"
        await world.write([("METER-A", 41)])
        assert await connection.fetchval("SELECT count(*) FROM late_hours") == 1
        await world.check(0, 120)
        async with locked_tables(database):
            writing = asyncio.create_task(world.write([("METER-A", 42)]))
            await until(lambda: waits_for_lock(database), "the writer is blocked")
            with pytest.raises(asyncpg.LockNotAvailableError):
                await refresh_rollups(connection, at(180), grace=timedelta(0))
            assert await connection.fetchval("SELECT count(*) FROM late_hours") == 0, "the late hours were refreshed"
        await writing
        await world.check(0, 120)
    await connection.close()


WAITS_FOR_OTHER = "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = $1 AND wait_event = 'advisory'"
ROLLED_UP = """
SELECT meter_id AS device, hour, readings, round(kwh_consumed_ac::numeric, 9) AS kwh, NULL AS temp_sum, NULL AS temp_max,
    NULL AS low, NULL AS high
FROM meter_energy_hourly
UNION ALL
SELECT vehicle_id, hour, readings, round(kwh_delivered_dc::numeric, 9), battery_temp_sum, battery_temp_max, soc_min, soc_max
FROM vehicle_energy_hourly
ORDER BY device, hour
"""
OF_READINGS = """
SELECT meter_id AS device, date_trunc('hour', recorded_at, 'UTC') AS hour, count(*) AS readings,
    round(sum(kwh_consumed_ac)::numeric, 9) AS kwh, NULL AS temp_sum, NULL AS temp_max, NULL AS low, NULL AS high
FROM meter_telemetry_history GROUP BY meter_id, hour
UNION ALL
SELECT vehicle_id, date_trunc('hour', recorded_at, 'UTC') AS hour, count(*), round(sum(kwh_delivered_dc)::numeric, 9),
    sum(battery_temp), max(battery_temp), min(soc), max(soc)
FROM vehicle_telemetry_history GROUP BY vehicle_id, hour
ORDER BY device, hour
"""


@pytest.mark.anyio
@pytest.mark.parametrize("pages_per_device", [0, 2], ids=["by the index", "in one pass"])
async def test_an_hour_is_rolled_up_in_two_sessions_and_waits_for_one_that_is_still_at_it(
    database: Database, monkeypatch: pytest.MonkeyPatch, pages_per_device: int
) -> None:
    monkeypatch.setattr(rollups, "PAGES_PER_DEVICE", pages_per_device)
    connection, second, other = [await asyncpg.connect(database.migrator_url) for _ in range(3)]
    async with pool(SecretStr(database.writer_url), size=2, server_settings=WRITER_SETTINGS, command_timeout=30) as to:
        await StoredOffsets(to, "test").insert_missing(dict.fromkeys(PARTITIONS, 0))
        world = World(Store(to, "test"), connection)
        await world.write([(device, minute) for device in (*METERS, VEHICLE) for minute in (0, 7, 59, 60, 119)])
        async with other.transaction():  # of a process that has lost its lock
            await queries.lock_rollups(other, side="vehicle")
            refresh = refresh_rollups(connection, at(120), grace=timedelta(0), second=second)
            refreshing = asyncio.create_task(refresh)
            await until(lambda: database.value(WAITS_FOR_OTHER, database.name), "the second session is blocked")
            await world.write([(VEHICLE, 30)])
        await refreshing
        assert await connection.fetch(ROLLED_UP) == await connection.fetch(OF_READINGS)
        assert await connection.fetchval("SELECT sum(readings) FROM vehicle_energy_hourly WHERE hour = $1", at(0)) == 4
    for each in (connection, second, other):
        await each.close()


@pytest.mark.anyio
async def test_a_failure_keeps_what_was_rolled_up_before_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a statement reaches its time-out: each of them covers two devices here, and starts with an hour."""
    monkeypatch.setattr(rollups, "DEVICES_PER_STATEMENT", 2)
    await _assign(database)
    connection = await asyncpg.connect(database.migrator_url)
    async with pool(SecretStr(database.writer_url), size=2, server_settings=WRITER_SETTINGS, command_timeout=30) as to:
        await StoredOffsets(to, "test").insert_missing(dict.fromkeys(PARTITIONS, 0))
        world = World(Store(to, "test"), connection)
        meters = [*METERS, "METER-C", "METER-D", "METER-E"]
        await world.write([(device, minute) for device in (*meters, VEHICLE) for minute in range(0, MINUTES, 20)])
        bad_hour = (
            "ALTER TABLE meter_energy_hourly ADD CONSTRAINT bad_hour CHECK (meter_id <> 'METER-E' OR hour < '{}')"
        )
        await connection.execute(bad_hour.format(at(180).isoformat()))
        with pytest.raises(asyncpg.CheckViolationError):
            await refresh_rollups(connection, at(MINUTES), grace=timedelta(0))
        assert (await queries.rollup_state(connection))["complete_before"] >= at(60)
        await world.check(0, MINUTES)

        await connection.execute("ALTER TABLE meter_energy_hourly DROP CONSTRAINT bad_hour")
        await refresh_rollups(connection, at(MINUTES), grace=timedelta(0))
        assert (await queries.rollup_state(connection))["complete_before"] == at(MINUTES)
        assert await connection.fetchval("SELECT sum(readings) FROM meter_energy_hourly") == len(meters) * MINUTES // 20
        await world.check(0, MINUTES)
    await connection.close()


@pytest.mark.anyio
async def test_a_backlog_marks_hours_of_all_devices_and_counts_immediately(database: Database) -> None:
    await _assign(database)
    connection = await asyncpg.connect(database.migrator_url)
    async with pool(SecretStr(database.writer_url), size=2, server_settings=WRITER_SETTINGS, command_timeout=30) as to:
        await StoredOffsets(to, "test").insert_missing(dict.fromkeys(PARTITIONS, 0))
        world = World(Store(to, "test"), connection)
        await world.write([("METER-A", 70), (VEHICLE, 70)])
        await refresh_rollups(connection, at(MINUTES), grace=timedelta(0))
        late = [(f"METER-{number}", 90) for number in range(1100)] + [("METER-A", minute) for minute in range(60, 120)]
        await world.write([(VEHICLE, minute) for minute in range(60, 120)] + late)
        marks = await connection.fetch("SELECT side, device_id FROM late_hours ORDER BY side")
        assert [tuple(mark) for mark in marks] == [("meter", ""), ("vehicle", VEHICLE)]
        await world.check(0, 120)
        await refresh_rollups(connection, at(MINUTES), grace=timedelta(0))
        assert await connection.fetchval("SELECT count(*) FROM late_hours") == 0
        assert await connection.fetchval("SELECT sum(readings) FROM meter_energy_hourly") == 1160
        await world.check(0, 120)
    await connection.close()


@pytest.mark.anyio
@pytest.mark.parametrize("devices_per_statement", [3, 100])
async def test_an_hour_that_is_late_for_all_devices_is_refreshed_in_portions_and_resumed(
    database: Database, monkeypatch: pytest.MonkeyPatch, devices_per_statement: int
) -> None:
    """Each refresh ends after its first portion; the one in which a device cannot be rolled up keeps the portions before it."""
    await _assign(database)
    connection = await asyncpg.connect(database.migrator_url)
    async with pool(SecretStr(database.writer_url), size=2, server_settings=WRITER_SETTINGS, command_timeout=30) as to:
        await StoredOffsets(to, "test").insert_missing(dict.fromkeys(PARTITIONS, 0))
        world = World(Store(to, "test"), connection)
        await world.write([("METER-A", 10), (VEHICLE, 10)])
        await refresh_rollups(connection, at(MINUTES), grace=timedelta(0))
        meters = sorted({"METER-A", *(f"METER-{number}" for number in range(1100))})
        await world.write([(meter_id, 90) for meter_id in meters])
        await connection.execute("ALTER TABLE meter_energy_hourly ADD CONSTRAINT bad CHECK (meter_id <> 'METER-500')")
        monkeypatch.setattr(rollups, "DEVICES_PER_STATEMENT", devices_per_statement)
        with pytest.raises(asyncpg.CheckViolationError):
            await refresh_rollups(connection, at(MINUTES), grace=timedelta(0))
        rolled_up = "SELECT count(*) FROM meter_energy_hourly WHERE hour = $1"
        complete = meters.index("METER-500") // devices_per_statement * devices_per_statement
        assert await connection.fetchval(rolled_up, at(60)) == complete
        assert await connection.fetchval("SELECT refreshed_to FROM late_hours") == meters[complete - 1]

        await world.write([(meters[0], 91), (meters[-1], 91)])  # marked singly, beside the mark for all
        await world.check(0, 120)
        await connection.execute("ALTER TABLE meter_energy_hourly DROP CONSTRAINT bad")
        await refresh_rollups(connection, at(MINUTES), grace=timedelta(0))
        assert await connection.fetchval("SELECT count(*) FROM late_hours") == 0
        assert await connection.fetchval("SELECT sum(readings) FROM meter_energy_hourly") == len(meters) + 3
        await world.check(0, 120)
    await connection.close()


@pytest.mark.anyio
async def test_a_later_mark_for_all_devices_is_not_taken_for_one_that_is_nearly_done(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollups, "DEVICES_PER_STATEMENT", 1)
    await _assign(database)
    connection = await asyncpg.connect(database.migrator_url)
    async with pool(SecretStr(database.writer_url), size=2, server_settings=WRITER_SETTINGS, command_timeout=30) as to:
        await StoredOffsets(to, "test").insert_missing(dict.fromkeys(PARTITIONS, 0))
        world = World(Store(to, "test"), connection)
        await world.write([("METER-A", 70), ("METER-B", 70), (VEHICLE, 70)])
        await refresh_rollups(connection, at(MINUTES), grace=timedelta(0))
        await world.write([("METER-A", 71)])
        mark = "UPDATE late_hours SET device_id = '', refreshed_to = 'METER-A'"  # as if the first device were done
        await connection.execute(mark)
        await connection.execute("INSERT INTO late_hours (side, device_id, hour) VALUES ('meter', '', $1)", at(60))
        await refresh_rollups(connection, at(MINUTES), grace=timedelta(0))
        # The pass that had begun has ended, and its hour does not hold up others; the later mark is the next pass.
        assert [tuple(each) for each in await connection.fetch("SELECT hour, refreshed_to FROM late_hours")] == [
            (at(60), "")
        ]
        await refresh_rollups(connection, at(MINUTES), grace=timedelta(0))
        assert await connection.fetchval("SELECT count(*) FROM late_hours") == 0
        assert await connection.fetchval("SELECT sum(readings) FROM meter_energy_hourly") == 3
        await world.check(0, 120)
    await connection.close()
