"""Days of a fleet in time-lapse: they go through Kafka and a consumer into the database, and are folded as they end.

produce a day -> its last offsets are stored -> roll up its hours -> fold the day that is due

The steps run side by side, each of them on another day.
"""

import asyncio
import time
from asyncio import Queue, TaskGroup
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf
from random import Random
from typing import Any, Final

import asyncpg
import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from pydantic import SecretStr

from deploy.simulator.fleet import MINUTE_MS, Fleet, assignments
from deploy.simulator.producer import ReadingProducer
from deploy.simulator.readings import Record, milliseconds, pair_at
from deploy.simulator.timetable import Timetable, timetable
from deploy.stack.processes import Processes, end_of
from sql.assign import Assignment, write_assignments
from sql.connection import connect
from sql.maintenance.folding import fold_days
from sql.maintenance.rollups import refresh_rollups
from sql.maintenance.scheduler import HOURLY_SESSION
from sql.maintenance.statistics import refresh_statistics
from sql.partitions import ensure_partitions
from sql.queries import queries
from tests.bench.instruments.cpu_time import CpuTime
from tests.bench.instruments.drain_run import WAL_BYTES
from tests.bench.setup.backlog import kafka_settings, new_topics
from tests.bench.setup.harness import Harness
from tests.bench.setup.live_delays import LiveDelays
from tests.bench.setup.stored_day import DAY, MINUTES, ROLLUP_GRACE
from tests.support.database import Database, drop_rows
from tests.support.ledger import Topics, ledger
from tests.support.services import ConsumerGroup, ConsumerProcess, service_environment
from tests.support.waiting import until

RETENTION_DAYS: Final = 400
TIMEOUT_SECONDS: Final = 3600.0  # for a day
# The clocks must agree before a day is folded, and the readings of a time-lapse are old.
INSERT_PRESENT_READING: Final = "INSERT INTO meter_live_status VALUES ('METER-NOW', 0, 230, now(), now())"
STORED_OFFSETS: Final = "SELECT topic, partition, next_offset FROM kafka_offsets"
WAL_BYTES_OF_SESSION: Final = "SELECT wal_bytes::bigint FROM pg_stat_get_backend_wal(pg_backend_pid())"
Offsets = dict[TopicPartition, int]


@dataclass(frozen=True, slots=True)
class Days:
    """`count` days from `opens` on (midnight UTC) of so many vehicles and as many meters: a reading a minute of each.

    A reading is up to `jitter_ms` late, so cadence is exact with 0. The last `days_as_rows` days are not folded.
    """

    vehicles: int
    opens: datetime
    count: int
    jitter_ms: int = 0
    days_as_rows: int = 0

    @property
    def closes(self) -> datetime:
        return self.opens + self.count * DAY

    @property
    def readings_a_day(self) -> int:
        return 2 * MINUTES * self.vehicles

    @property
    def readings(self) -> int:
        return self.count * self.readings_a_day

    @property
    def folded_readings(self) -> int:
        return (self.count - self.days_as_rows) * self.readings_a_day


@dataclass(frozen=True, slots=True)
class Loaded:
    """What loading took: seconds, and bytes of write-ahead log a reading of writing, and of rolling up and folding.

    `cpu` has the microseconds a reading of simulator, consumer (`client`) and servers, by the names of a result's details.
    """

    seconds: float
    cpu: dict[str, float]
    written_wal_bytes: float
    folded_wal_bytes: float


def load(harness: Harness, database: Database, days: Days, delays: LiveDelays) -> Loaded:
    """Load days into an empty database; its ledger adds up afterwards, and holds every reading.

    A reading of a time-lapse arrives weeks after it was recorded. It is folded with one of these delays instead.

    Raises:
        RuntimeError: the consumer has ended, or not every reading was written.
    """
    topics, directory = new_topics(harness), harness.new_directory("time-lapse")
    asyncio.run(_prepare(database, days, delays))
    with Processes() as processes:
        group = ConsumerGroup(processes, service_environment(harness.stack, database, topics), directory)
        loaded = uvloop.run(_load(harness, database, days, topics, group.start()))
    written = sum(entry.written for entry in asyncio.run(ledger(database, topics)).values())
    if written != days.readings:
        raise RuntimeError(f"{written} of {days.readings} readings were written")
    return loaded


async def fold_up_to(connection: Any, instant: datetime, *, days_as_rows: int = 0) -> None:
    """Roll up the hours before an instant (midnight UTC), and fold the days that ended so many days before it."""

    async def fold() -> None:
        await refresh_rollups(connection, instant + ROLLUP_GRACE, grace=ROLLUP_GRACE)
        await fold_days(connection, instant, after=days_as_rows * DAY, seconds=inf)

    await _repeat_while_blocked(fold)


async def _repeat_while_blocked(work: Callable[[], Awaitable[None]]) -> None:
    """As the rounds of maintenance do: in a time-lapse, a consumer's transactions are often longer than a lock is waited for."""
    while True:
        try:
            return await work()
        except asyncpg.LockNotAvailableError:
            continue


@asynccontextmanager
async def maintenance_session(database: Database) -> Any:
    connection = await connect(SecretStr(database.migrator_url), server_settings=HOURLY_SESSION)
    try:
        yield connection
    finally:
        await connection.close()


async def _prepare(database: Database, days: Days, delays: LiveDelays) -> None:
    """The first watermarks at the beginning of the days, partitions from there to the present, and assignments."""
    fleet = Fleet(days.vehicles)
    assigned = [Assignment(line, *each) for line, each in enumerate(assignments(fleet))]
    async with maintenance_session(database) as connection:
        await drop_rows(connection)
        await queries.begin_folding(connection, instant=days.opens)
        await ensure_partitions(connection, datetime.now(UTC), RETENTION_DAYS)
        await write_assignments(connection, assigned, "bench")
        await connection.execute(delays.sql_function())
        await connection.execute(INSERT_PRESENT_READING)


async def _load(harness: Harness, database: Database, days: Days, topics: Topics, consumer: ConsumerProcess) -> Loaded:
    produced: Queue[Offsets] = Queue(1)
    stored: Queue[None] = Queue(1)
    async with maintenance_session(database) as connection:
        wal, started = await connection.fetchval(WAL_BYTES), time.monotonic()
        cpu, own_cpu = CpuTime.now(harness.stack, [consumer.process]), time.process_time()
        async with TaskGroup() as group:
            group.create_task(_produce(harness, days, topics, produced))
            group.create_task(_follow(harness, database, days, consumer, produced, stored))
            group.create_task(_fold(harness, connection, days, stored))
        await refresh_statistics(connection, datetime.now(UTC))
        seconds = time.monotonic() - started
        took = CpuTime.now(harness.stack, [consumer.process]).per_record(cpu, days.readings)
        took["simulator_cpu_us_per_record"] = round((time.process_time() - own_cpu) * 1e6 / days.readings, 3)
        folded_wal = await connection.fetchval(WAL_BYTES_OF_SESSION)
        written_wal = await connection.fetchval(WAL_BYTES) - wal - folded_wal
    return Loaded(seconds, took, written_wal / days.readings, folded_wal / days.folded_readings)


async def _produce(harness: Harness, days: Days, topics: Topics, produced: "Queue[Offsets]") -> None:
    """Send one day after the other, and put the ends of all logs after each."""
    table, dice = timetable(Fleet(days.vehicles)), Random(1)
    producer = ReadingProducer(kafka_settings(harness, topics), harness.log_progress)
    log_ends = AIOKafkaConsumer(bootstrap_servers=harness.stack.kafka_bootstrap_servers)
    partitions = [
        TopicPartition(topic, each) for topic in (topics.meter, topics.vehicle) for each in range(topics.partitions)
    ]
    await producer.start()
    await log_ends.start()
    try:
        first = milliseconds(days.opens) // MINUTE_MS
        for minute in range(first, first + days.count * MINUTES):
            await producer.send(readings_of(table, minute, dice, days.jitter_ms))
            await asyncio.sleep(0)
            if (minute + 1 - first) % MINUTES == 0:
                await producer.flush()
                await until(_all_acknowledged(producer), "Kafka has acknowledged the day")
                await produced.put(await log_ends.end_offsets(partitions))
    finally:
        await log_ends.stop()
        await producer.stop(120)


def _all_acknowledged(producer: ReadingProducer) -> Callable[[], Awaitable[bool]]:
    async def all_acknowledged() -> bool:
        return producer.counts.acknowledged == producer.counts.sent

    return all_acknowledged


def readings_of(table: Timetable, minute: int, dice: Random, jitter_ms: int) -> Iterator[Record]:
    """The readings of a minute, none of which is so late that it falls into the next."""
    for vehicle in table.vehicles:
        delay = int(dice.random() * min(jitter_ms, MINUTE_MS - vehicle.phase_ms)) if jitter_ms else 0
        yield from pair_at(vehicle, minute, delay)


async def _follow(
    harness: Harness,
    database: Database,
    days: Days,
    consumer: ConsumerProcess,
    produced: "Queue[Offsets]",
    stored: "Queue[None]",
) -> None:
    """Wait until each day is stored; delete the records of the day before from Kafka."""
    connection = await asyncpg.connect(database.migrator_url)
    admin = AIOKafkaAdminClient(bootstrap_servers=harness.stack.kafka_bootstrap_servers)
    await admin.start()
    before: Offsets = {}
    try:
        for _ in range(days.count):
            ends = await produced.get()
            await until(_reached(connection, consumer, ends), "the day is stored", timeout=TIMEOUT_SECONDS)
            await stored.put(None)
            if before:
                await admin.delete_records({each: RecordsToDelete(offset) for each, offset in before.items()})
            before = ends
    finally:
        await connection.close()
        await admin.close()


def _reached(connection: Any, consumer: ConsumerProcess, ends: Offsets) -> Callable[[], Awaitable[bool]]:
    async def reached() -> bool:
        if consumer.process.poll() is not None:
            raise RuntimeError(f"the consumer has ended: {end_of(consumer.log)}")
        stored = {TopicPartition(*row[:2]): row[2] for row in await connection.fetch(STORED_OFFSETS)}
        return all(stored.get(each, 0) >= end for each, end in ends.items())

    return reached


async def _fold(harness: Harness, connection: Any, days: Days, stored: "Queue[None]") -> None:
    for number in range(1, days.count + 1):
        await stored.get()
        await fold_up_to(connection, days.opens + number * DAY, days_as_rows=days.days_as_rows)
        if number % 5 == 0 or number == days.count:
            harness.log_progress(
                f"{number} of {days.count} days of {2 * days.vehicles:,} devices are stored and folded"
            )
