"""Memory of a consumer that reads large records while the database takes no writes."""

import asyncio
import os
import time
from collections.abc import Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from aiokafka import AIOKafkaProducer

from deploy.stack.processes import Processes
from deploy.stack.topics import create_topics
from tests.bench.instruments.results import Result, with_medians
from tests.bench.setup.harness import Harness
from tests.support.database import locked_tables
from tests.support.ledger import Topics, until_consumed
from tests.support.records import meter, vehicle
from tests.support.services import ConsumerGroup, ConsumerProcess, service_environment

RECORDS: Final = 60_000  # of each topic
VALUE_BYTES: Final = 20_000
PARTITIONS: Final = 4
LOCKED_SECONDS: Final = 60.0


def measure(harness: Harness) -> Iterator[Result]:
    """The highest resident memory while the tables are locked, and until all is stored. The records carry raw frames."""
    records = harness.scaled(RECORDS, minimum=100)
    topics = Topics("memory-meter", "memory-vehicle", PARTITIONS)
    asyncio.run(_produce(harness, topics, records))
    yield from with_medians(_run(harness, topics, records, run) for run in range(1, harness.runs + 1))


def _run(harness: Harness, topics: Topics, records: int, run: int) -> Result:
    with harness.empty_database() as database, Processes() as processes:
        environment = service_environment(harness.stack, database, topics) | {"KAFKA_GROUP_ID": database.name}
        group = ConsumerGroup(processes, environment, harness.new_directory("memory"))

        async def peak() -> tuple[float, float, float]:
            async with locked_tables(database):
                consumer = group.start()
                await consumer.until_logged("partitions_assigned")
                idle = _resident_mib(consumer)
                locked = await _highest(consumer, asyncio.sleep(harness.scaled(int(LOCKED_SECONDS), minimum=5)))
            after = await _highest(consumer, until_consumed(database, None, 2 * records, timeout=600))
            return idle, locked, after

        idle, locked, after = asyncio.run(peak())
    harness.log_progress(f"memory, run {run}: {locked:,.0f} MiB while locked")
    return Result(
        measure="memory_large_records",
        value=max(locked, after),
        unit="MiB",
        run=run,
        details={"while_locked": locked, "afterwards": after, "at_the_start": idle},
    )


async def _highest(consumer: ConsumerProcess, work: Coroutine[Any, Any, None]) -> float:
    """The highest resident memory (MiB) until the work is done."""
    working, highest = asyncio.create_task(work), 0.0
    while not working.done():
        highest = max(highest, _resident_mib(consumer))
        await asyncio.wait({working}, timeout=0.05)
    await working
    return highest


def _resident_mib(consumer: ConsumerProcess) -> float:
    return round(float(consumer.process.memory_info().rss) / 2**20, 1)


async def _produce(harness: Harness, topics: Topics, records: int) -> None:
    """Readings of a minute of many devices, each with an unknown field that compresses as measured values do."""
    servers = harness.stack.kafka_bootstrap_servers
    await create_topics(servers, [topics.meter, topics.vehicle], partitions=PARTITIONS)
    started, now = time.monotonic(), datetime.now(UTC) - timedelta(hours=1)
    frames = os.urandom(VALUE_BYTES // 40).hex() * 20
    async with AIOKafkaProducer(
        bootstrap_servers=servers, acks="all", compression_type="gzip", linger_ms=20, max_batch_size=1_000_000
    ) as producer:
        for number in range(records):
            at = now + timedelta(seconds=number // 1000)
            await producer.send(topics.meter, meter(f"METER-{number % 1000}", at, frames=frames))
            await producer.send(topics.vehicle, vehicle(f"VEH-{number % 1000}", at, frames=frames))
    harness.log_progress(f"2 x {records:,} records of 20 kB produced in {time.monotonic() - started:.0f} s")
