"""Meters that send register readings: through Kafka and the consumer, together with meters that send intervals."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from pydantic import SecretStr

from consumer.storage.offsets import StoredOffsets
from consumer.storage.store import Store
from deploy.stack.servers import Servers
from deploy.stack.topics import create_topics
from schemas.records.readings import Reason
from sql.connection import WRITER_SETTINGS, pool
from sql.maintenance.rollups import refresh_rollups
from sql.queries import queries
from tests.support.database import Database
from tests.support.ledger import Entry, Topics, ledger, until_consumed
from tests.support.records import batch, meter, minute, records, register
from tests.support.services import ConsumerGroup

pytestmark = pytest.mark.anyio
TOPICS = Topics("meter-readings", "vehicle-readings", 2)


@pytest.fixture
async def register_topic(stack: Servers, topics: Topics, environment: dict[str, str]) -> str:
    await create_topics(stack.kafka_bootstrap_servers, [topics.register], partitions=topics.partitions)
    environment["KAFKA_REGISTER_TOPIC"] = topics.register
    return topics.register


@pytest.fixture
async def connections(database: Database) -> AsyncIterator[Any]:
    async with pool(SecretStr(database.writer_url), size=4, server_settings=WRITER_SETTINGS, command_timeout=30) as to:
        partitions = [
            TopicPartition(topic, each) for topic in ("register-readings", "meter-readings") for each in (0, 1)
        ]
        await StoredOffsets(to, "test").insert_missing(dict.fromkeys(partitions, 0))
        yield to


async def produce(stack: Servers, topic: str, *values: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka_bootstrap_servers, acks="all") as producer:
        for value in values:
            await producer.send(topic, value, b"METER-1")


async def refresh(database: Database, hour: int) -> None:
    connection = await asyncpg.connect(database.migrator_url)
    try:
        await refresh_rollups(connection, minute(60 * hour), grace=timedelta(0))
    finally:
        await connection.close()


async def energy_by_hour(database: Database, hours: int) -> list[tuple[float, int]]:
    """Of the vehicle that METER-1 measures, for each hour: kWh and number of the meter's readings."""
    connection = await asyncpg.connect(database.reader_url)
    try:
        opens = [minute(60 * each) for each in range(hours)]
        closes = [minute(60 * each + 60) for each in range(hours)]
        found = queries.energy_of(connection, vehicle_ids=["VEH-1"] * hours, opens=opens, closes=closes)
        return [(row["ac_kwh"], row["ac_points"]) async for row in found]
    finally:
        await connection.close()


async def test_registers_become_intervals_in_every_query_that_reads_meter_history(
    stack: Servers, database: Database, topics: Topics, register_topic: str, group: ConsumerGroup
) -> None:
    await database.execute("INSERT INTO vehicle_meter_assignments VALUES ('VEH-1', 'METER-1', '[2020-01-01,)', 'test')")
    group.start()
    hours = 4
    registers = [register("METER-1", minute(each), 80_000 + each / 4) for each in range(60 * hours)]
    left_out = {100, 101, 130}
    on_time = [value for each, value in enumerate(registers) if each not in left_out]
    await produce(stack, register_topic, *on_time[:150], on_time[7], register("METER-1", minute(9), 1.0))
    await produce(stack, topics.meter, meter("METER-2", minute(0)), meter("METER-1", minute(1000), kwh=0.5))
    await until_consumed(database, register_topic, 152)
    await until_consumed(database, topics.meter, 2)
    await refresh(database, 2)
    await produce(stack, register_topic, *on_time[150:], register("METER-1", minute(500), 1.1e9))
    await until_consumed(database, register_topic, len(on_time) + 3)
    gaps = [(14.75, 60), (15, 58), (15, 59), (15, 60)]
    assert await energy_by_hour(database, hours) == gaps, "the interval after a gap holds the energy of the whole gap"

    await produce(stack, register_topic, *[registers[each] for each in sorted(left_out)])
    await until_consumed(database, register_topic, len(registers) + 3)
    whole = [(14.75, 60), (15, 60), (15, 60), (15, 60)]
    assert await energy_by_hour(database, hours) == whole
    marked = await database.fetch("SELECT DISTINCT device_id, hour FROM late_hours")
    assert [tuple(row) for row in marked] == [("METER-1", minute(60))], "only the rolled-up hour that changed"
    await refresh(database, 4)
    assert await database.value("SELECT count(*) FROM late_hours") == 0
    assert await energy_by_hour(database, hours) == whole

    by_topic = await ledger(database, topics)
    assert by_topic[register_topic] == Entry(len(registers) + 3, len(registers), 1, 2)
    assert by_topic[topics.meter] == Entry(2, 2, 0, 0)
    reasons = await database.fetch("SELECT reason FROM dead_letters ORDER BY 1")
    assert [row[0] for row in reasons] == [Reason.CONFLICTING_READING, Reason.OUT_OF_RANGE]


async def test_live_status_shows_the_newest_interval_even_when_a_late_reading_changes_it(
    connections: Any, database: Database
) -> None:
    store = Store(connections, "test")

    async def live() -> tuple[Any, ...]:
        query = "SELECT last_kwh_consumed_ac, last_voltage, recorded_at FROM meter_live_status"
        return tuple((await database.fetch(query))[0])

    await store.write(batch(records([register(at=minute(0), kwh=5)], topic="register-readings")))
    assert await live() == (0, 240.5, minute(0))
    await store.write(batch(records([register(at=minute(9), kwh=8, voltage=239)], topic="register-readings", offset=1)))
    assert await live() == (3, 239, minute(9))
    await store.write(batch(records([register(at=minute(4), kwh=6)], topic="register-readings", offset=2)))
    assert await live() == (2, 239, minute(9))


async def test_a_meter_that_switches_between_intervals_and_registers_loses_no_reading_and_never_goes_back_in_time(
    connections: Any, database: Database
) -> None:
    store = Store(connections, "test")
    await store.write(batch(records([meter(at=minute(each)) for each in (0, 10)])))
    # Registers before and after the newest interval, which this process has cached and live status shows.
    values = [register(at=minute(each), kwh=100 + each) for each in (5, 8, 12)]
    outcome = await store.write(batch(records(values, topic="register-readings")))
    assert outcome.written.total() == 3
    await store.write(batch(records([meter(at=minute(each)) for each in (11, 20)], offset=2)))
    # The same identity as interval and as register: history keeps the first, and the register is stored as a register.
    both = batch(records([register(at=minute(20), kwh=125)], topic="register-readings", offset=3))
    assert (await store.write(both)).written.total() == 1
    outcome = await store.write(batch(records([meter(at=minute(12))], offset=4)))
    assert outcome.dead_letters.total() == 1

    history = await database.fetch(
        "SELECT recorded_at, kwh_consumed_ac, derived FROM meter_telemetry_history ORDER BY 1"
    )
    assert [tuple(row) for row in history] == [
        (minute(0), 0.5, None), (minute(5), 0, True), (minute(8), 3, True), (minute(10), 0.5, None),
        (minute(11), 0.5, None), (minute(12), 4, True), (minute(20), 0.5, None),
    ]  # fmt: skip
    live = await database.fetch("SELECT recorded_at, last_kwh_consumed_ac FROM meter_live_status")
    assert [tuple(row) for row in live] == [(minute(20), 0.5)]
    assert await ledger(database, TOPICS) == {
        "meter-readings": Entry(5, 4, 0, 1),
        "register-readings": Entry(4, 4, 0, 0),
    }


async def test_concurrent_readings_of_one_meter_from_two_partitions_are_counted_once(
    connections: Any, database: Database
) -> None:
    stores = [Store(connections, "test"), Store(connections, "test")]
    rounds = 25
    for number in range(rounds):
        values = [register("M", minute(2 * number + each), kwh=2 * number + each) for each in range(2)]
        await asyncio.gather(
            *(
                store.write(batch(records([value], topic="register-readings", partition=each, offset=number)))
                for each, (store, value) in enumerate(zip(stores, values, strict=True))
            )
        )
    assert await database.value("SELECT sum(kwh_consumed_ac) FROM meter_telemetry_history") == 2 * rounds - 1
    assert (await ledger(database, TOPICS))["register-readings"] == Entry(2 * rounds, 2 * rounds, 0, 0)


async def test_intervals_after_a_late_reading_are_derived_again_until_nothing_changes(
    connections: Any, database: Database
) -> None:
    store = Store(connections, "test")
    idle = [register(at=minute(each), kwh=110) for each in range(10, 300)]
    values = [register(at=minute(0), kwh=100), *idle, register(at=minute(300), kwh=112)]
    await store.write(batch(records(values, topic="register-readings")))
    late = batch(records([register(at=minute(5), kwh=110.5)], topic="register-readings", offset=len(values)))
    await store.write(late)

    history = await database.fetch("SELECT recorded_at, kwh_consumed_ac FROM meter_telemetry_history "
                                   "WHERE kwh_consumed_ac > 0 ORDER BY 1")  # fmt: skip
    assert [tuple(row) for row in history] == [(minute(5), 10.5), (minute(300), 1.5)]


async def test_an_interval_may_end_a_gap_and_a_month(connections: Any, database: Database) -> None:
    store = Store(connections, "test")
    month = minute(0) - timedelta(days=31)
    values = [register(at=month, kwh=100), register(at=minute(0), kwh=100_100), register(at=minute(1), kwh=100_100.5)]
    await store.write(batch(records(values, topic="register-readings")))
    history = await database.fetch("SELECT kwh_consumed_ac FROM meter_telemetry_history ORDER BY recorded_at")
    assert [row[0] for row in history] == [0, 100_000, 0.5]


@pytest.mark.parametrize(
    ("registers", "intervals"),
    [
        ([812.4, 812.5, 0, 812.6, 812.7], [0, 0.1, 0, 0.1, 0.1]),
        ([812.4, 812.5, 0, 0, 0, 812.6, 812.7], [0, 0.1, 0, 0, 0, 0.1, 0.1]),
        ([6.0, 6.1, 0, 6.2, 6.3], [0, 0.1, 0, 0.1, 0.1]),
        ([812.4, 812.5, 4000, 812.6, 812.7], [0, 0.1, 0, 0.1, 0.1]),
        ([812.4, 812.5, 0, 0.1, 0.2, 0.3], [0, 0.1, 0, 0.1, 0.1, 0.1]),
        ([812.4, 812.5, 0, 4000, 4000.1], [0, 0.1, 0, 0, 0.1]),
        ([812.4, 812.5, 3000, 3000.1, 3000.2], [0, 0.1, 0, 0.1, 0.1]),
        ([0, 16, 33], [0, 16, 0]),
        ([812.4, 812.5, 5, 812.6], [0, 0.1, 5, 0.1]),
    ],
    ids=[
        "one reading of zero", "some of zero", "of a new meter", "one reading too high", "a reset", "another meter later",
        "another meter", "more than 1,000 kW", "one reading that a charger could have reached",
    ],
)  # fmt: skip
@pytest.mark.parametrize("batches", ["one batch", "a batch for each", "from the last to the first"])
async def test_a_wrong_register_makes_no_energy_and_a_reset_loses_none(
    connections: Any, database: Database, registers: list[float], intervals: list[float], batches: str
) -> None:
    store, values = Store(connections, "test"), [register(at=minute(at), kwh=kwh) for at, kwh in enumerate(registers)]
    ordered = values[::-1] if batches == "from the last to the first" else values
    if batches == "one batch":
        await store.write(batch(records(ordered, topic="register-readings")))
    else:
        for offset, value in enumerate(ordered):
            await store.write(batch(records([value], topic="register-readings", offset=offset)))
    rows = await database.fetch("SELECT kwh_consumed_ac FROM meter_telemetry_history ORDER BY recorded_at")
    assert [row[0] for row in rows] == pytest.approx(intervals)


@pytest.mark.parametrize(
    ("registers", "intervals"),
    [([0, 40, 0.2, 41], [0, 40, 0.2, 1]), ([0, 40, 0.2, 20, 41], [0, 40, 0.2, 19.8, 21])],
    ids=["read once: taken for one that came back", "read twice"],
)
async def test_a_register_that_starts_again_in_each_session_is_told_by_two_readings(
    connections: Any, database: Database, registers: list[float], intervals: list[float]
) -> None:
    values = [register(at=minute(30 * at), kwh=kwh) for at, kwh in enumerate(registers)]
    await Store(connections, "test").write(batch(records(values, topic="register-readings")))
    rows = await database.fetch("SELECT kwh_consumed_ac FROM meter_telemetry_history ORDER BY recorded_at")
    assert [row[0] for row in rows] == pytest.approx(intervals)


async def test_intervals_of_another_rule_are_derived_again_on_request(connections: Any, database: Database) -> None:
    values = [register(at=minute(at), kwh=kwh) for at, kwh in enumerate([812.4, 812.5, 0, 812.6])]
    await Store(connections, "test").write(batch(records(values, topic="register-readings")))
    await database.execute("UPDATE meter_telemetry_history SET kwh_consumed_ac = 812.6 WHERE kwh_consumed_ac = 0.1")
    again = "SELECT derive_intervals(ARRAY[meter_id], ARRAY[min(recorded_at)], ARRAY[max(recorded_at)], 0.5)"
    await database.execute(f"{again} FROM meter_register_history GROUP BY meter_id")
    rows = await database.fetch("SELECT kwh_consumed_ac FROM meter_telemetry_history ORDER BY recorded_at")
    assert [row[0] for row in rows] == pytest.approx([0, 0.1, 0, 0.1])
