"""An ordinary day: 20,000 devices report once a minute. How soon a reading can be queried, and what that costs."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any, Final

import asyncpg
import psutil
from aiokafka import AIOKafkaProducer

from deploy.simulator.readings import encode
from deploy.stack.processes import Processes, end_of
from schemas.records.readings import MeterReading
from tests.bench.instruments.cpu_time import CpuTime
from tests.bench.instruments.results import Result, percentiles, with_medians
from tests.bench.setup.backlog import kafka_settings
from tests.bench.setup.harness import Harness
from tests.bench.setup.simulated_fleet import create_empty_topics, start_simulator
from tests.support.database import Database
from tests.support.ledger import Topics
from tests.support.services import ConsumerGroup, ConsumerProcess, service_environment
from tests.support.waiting import until

SECONDS: Final = 300
MAX_PAUSE_SECONDS: Final = 0.3  # longer than a batch waits, so that probes arrive at every point of its wait
POLL_SECONDS: Final = 0.002
PROBE: Final = "PROBE-1"
IS_STORED: Final = "SELECT true FROM meter_live_status WHERE meter_id = $1 AND recorded_at >= $2"


@dataclass(frozen=True, slots=True)
class _Probe:
    """A meter of our own: sends one reading and polls the database until it is there."""

    producer: Any
    connection: Any
    topic: str

    async def seconds_until_stored(self) -> float:
        """Seconds from producing one reading to the first query that finds it."""
        now = datetime.now(UTC)
        reading = MeterReading(meter_id=PROBE, timestamp=now, kwh_consumed_ac=0.1, voltage=230.0)
        started = time.perf_counter()
        await self.producer.send(self.topic, encode(reading), key=PROBE.encode())

        async def is_stored() -> bool:
            return bool(await self.connection.fetchval(IS_STORED, PROBE, now))

        await until(is_stored, "the probe can be queried", every=POLL_SECONDS)
        return time.perf_counter() - started


def measure(harness: Harness) -> Iterator[Result]:
    """p50 and p99 from producing a reading to finding it with a query; CPU time, memory and transactions meanwhile."""
    yield from with_medians(_run(harness, run) for run in range(1, harness.runs + 1))


def _run(harness: Harness, run: int) -> Result:
    topics, directory = create_empty_topics(harness), harness.new_directory("steady")
    with harness.empty_database() as database, Processes() as processes:
        environment = service_environment(harness.stack, database, topics)
        group = ConsumerGroup(processes, environment, directory)
        consumer = group.start()
        simulator = start_simulator(processes, environment, group)
        return asyncio.run(_observe(harness, database, topics, consumer, simulator, run))


async def _observe(
    harness: Harness, database: Database, topics: Topics, consumer: ConsumerProcess, simulator: psutil.Popen, run: int
) -> Result:
    await consumer.until_logged("partitions_assigned")
    seconds, dice, peak_memory, latencies = harness.scaled(SECONDS, minimum=10), Random(run), 0, []
    async with _connected_probe(harness, database, topics) as probe:
        await probe.seconds_until_stored()  # the first one connects, and is not counted
        batches, records = await _written(consumer)
        cpu, started = CpuTime.now(harness.stack, [consumer.process]), time.monotonic()
        while (elapsed := time.monotonic() - started) < seconds:
            latencies.append(await probe.seconds_until_stored())
            peak_memory = max(peak_memory, consumer.process.memory_info().rss)
            if simulator.poll() is not None or consumer.process.poll() is not None:
                raise RuntimeError(f"a process has ended:\n{end_of(consumer.log)}")
            await asyncio.sleep(dice.uniform(0, MAX_PAUSE_SECONDS))
        cores = CpuTime.now(harness.stack, [consumer.process]).cores(cpu, elapsed)
        batches_after, records_after = await _written(consumer)
    p50, p99 = percentiles(latencies)
    harness.log_progress(f"steady, run {run}: readings can be queried after {p50:.0f} ms, p99 {p99:.0f} ms")
    details = {
        "p50_ms": round(p50, 1),
        "slowest_ms": round(max(latencies) * 1000, 1),
        "probes": len(latencies),
        "records_per_second": round((records_after - records) / elapsed, 1),
        "transactions_per_second": round((batches_after - batches) / elapsed, 2),
        "replica_rss_mib": round(peak_memory / 2**20, 1),
    }
    return Result(measure="steady_freshness_p99", value=round(p99, 1), unit="ms", run=run, details=details | cores)


@asynccontextmanager
async def _connected_probe(harness: Harness, database: Database, topics: Topics) -> AsyncIterator[_Probe]:
    producer = AIOKafkaProducer(**kafka_settings(harness, topics).client_options(), acks="all", linger_ms=0)
    connection = await asyncpg.connect(database.reader_url)
    await producer.start()
    try:
        yield _Probe(producer, connection, topics.meter)
    finally:
        await connection.close()
        await producer.stop()


async def _written(consumer: ConsumerProcess) -> tuple[float, float]:
    """Batches and records that the consumer has written so far."""
    return await consumer.metric("energy_batch_records_count"), await consumer.metric("energy_batch_records_sum")
