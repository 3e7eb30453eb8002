"""The fleet as it is on any day: 20,000 devices that report once a minute. How fresh the database is, and what that costs."""

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from random import Random
from statistics import quantiles
from typing import Any, Final

import asyncpg
import psutil
from aiokafka import AIOKafkaProducer

from deploy.simulator.readings import encode
from deploy.stack.processes import Processes, end_of
from deploy.stack.topics import create_topics
from schemas.records.readings import MeterReading
from tests.bench.backlog import PARTITIONS, VEHICLES, kafka_settings
from tests.bench.costs import Costs
from tests.bench.ground import Ground, Result, with_medians
from tests.support.database import Database
from tests.support.ledger import Topics
from tests.support.repository import ROOT
from tests.support.services import ConsumerGroup, ConsumerProcess, service_environment
from tests.support.waiting import until

SECONDS: Final = 300
LONGEST_PAUSE: Final = 0.3  # more than a batch waits: the probes come at every moment of its wait
LOOK_SECONDS: Final = 0.002
PROBE: Final = "PROBE-1"
SEEN: Final = "SELECT true FROM meter_live_status WHERE meter_id = $1 AND recorded_at >= $2"
_numbers: Final = count(1)


def measure(ground: Ground) -> Iterator[Result]:
    """p50 and p99 from producing a reading to its being queryable; CPU, memory and transactions meanwhile."""
    yield from with_medians(result for run in range(1, ground.runs + 1) for result in _once(ground, run))


def fleet_topics(ground: Ground) -> Topics:
    """New topics, without a record."""
    name = f"bench-live-{os.getpid()}-{next(_numbers)}"
    topics = Topics(f"{name}-meter", f"{name}-vehicle", PARTITIONS)
    asyncio.run(
        create_topics(ground.stack.kafka_bootstrap_servers, (topics.meter, topics.vehicle), partitions=PARTITIONS)
    )
    return topics


def start_fleet(processes: Processes, environment: dict[str, str], group: ConsumerGroup) -> psutil.Popen:
    """The simulator, at the fleet's own rate, until it is stopped."""
    command = [sys.executable, "-m", "deploy.simulator", "--devices", str(VEHICLES)]
    return processes.start(command, log=group.directory / "fleet.log", env=environment, cwd=ROOT)


def _once(ground: Ground, run: int) -> Iterator[Result]:
    topics, directory = fleet_topics(ground), ground.new_directory("steady")
    with ground.database() as database, Processes() as processes:
        environment = service_environment(ground.stack, database, topics)
        group = ConsumerGroup(processes, environment, directory)
        replica = group.start()
        fleet = start_fleet(processes, environment, group)
        seconds = ground.scaled(SECONDS, least=10)
        yield from asyncio.run(_observe(ground, database, topics, replica, fleet, seconds, run))


async def _observe(
    ground: Ground,
    database: Database,
    topics: Topics,
    replica: ConsumerProcess,
    fleet: psutil.Popen,
    seconds: int,
    run: int,
) -> list[Result]:
    await replica.until_logged("partitions_assigned")
    producer = AIOKafkaProducer(**kafka_settings(ground, topics).client_options(), acks="all", linger_ms=0)
    connection = await asyncpg.connect(database.reader_url)
    await producer.start()
    try:
        await _fresh(producer, connection, topics.meter)  # the first connects and is not counted
        batches, records = await _so_far(replica)
        before, began, taken, memory = Costs.now(ground.stack, [replica.process]), time.monotonic(), [], 0
        dice = Random(run)
        while (elapsed := time.monotonic() - began) < seconds:
            taken.append(await _fresh(producer, connection, topics.meter))
            memory = max(memory, replica.process.memory_info().rss)
            if fleet.poll() is not None or replica.process.poll() is not None:
                raise RuntimeError(f"a process has ended:\n{end_of(replica.log)}")
            await asyncio.sleep(dice.uniform(0, LONGEST_PAUSE))
        after, (batches_after, records_after) = Costs.now(ground.stack, [replica.process]), await _so_far(replica)
    finally:
        await connection.close()
        await producer.stop()
    cut = quantiles(taken, n=100, method="inclusive")
    ground.say(f"steady, run {run}: fresh after {cut[49] * 1000:.0f} ms, p99 {cut[98] * 1000:.0f} ms")
    return [
        Result(
            measure="steady_freshness_p99",
            value=round(cut[98] * 1000, 1),
            unit="ms",
            run=run,
            details={
                "p50_ms": round(cut[49] * 1000, 1),
                "slowest_ms": round(max(taken) * 1000, 1),
                "probes": len(taken),
                "records_per_second": round((records_after - records) / elapsed, 1),
                "transactions_per_second": round((batches_after - batches) / elapsed, 2),
                "replica_rss_mib": round(memory / 2**20, 1),
                **after.cores(before, elapsed),
            },
        )
    ]


async def _fresh(producer: Any, connection: Any, topic: str) -> float:
    """Seconds from producing one reading to the first query that finds it."""
    now = datetime.now(UTC)
    reading = MeterReading(meter_id=PROBE, timestamp=now, kwh_consumed_ac=0.1, voltage=230.0)
    began = time.perf_counter()
    await producer.send(topic, encode(reading), key=PROBE.encode())

    async def seen() -> bool:
        return bool(await connection.fetchval(SEEN, PROBE, now))

    await until(seen, "the probe can be queried", every=LOOK_SECONDS)
    return time.perf_counter() - began


async def _so_far(replica: ConsumerProcess) -> tuple[float, float]:
    """Batches and records that the replica has written."""
    return await replica.metric("energy_batch_records_count"), await replica.metric("energy_batch_records_sum")
