"""How fast a backlog drains: records are in Kafka before the consumer starts, and leave into tables that are empty."""

import asyncio
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg
import psutil

from deploy.simulator.fleet import Fleet
from deploy.simulator.producer import ReadingProducer
from deploy.simulator.readings import milliseconds
from deploy.simulator.timetable import due, timetable
from deploy.stack.processes import Processes
from deploy.stack.topics import create_topics
from schemas.settings import KafkaSettings
from tests.bench.ground import Ground, Result, with_medians
from tests.servers import Database, Topics, ledger
from tests.services import Group, service_environment

DEVICES: Final = 10_000  # of each kind
MINUTES: Final = 50
RECORDS: Final = 2 * DEVICES * MINUTES
PARTITIONS: Final = 8
LOOK_SECONDS: Final = 0.02


def measure(ground: Ground) -> Iterator[Result]:
    """Records a second of one replica, from the moment it has its partitions to the last commit; CPU of each process."""
    topics = Topics(f"bench-meter-{os.getpid()}", f"bench-vehicle-{os.getpid()}", PARTITIONS)
    asyncio.run(_fill(ground, topics))
    yield from with_medians(_run(ground, topics, number) for number in range(1, ground.runs + 1))


async def _fill(ground: Ground, topics: Topics) -> None:
    await create_topics(
        ground.stack.kafka_bootstrap_servers, (topics.meter, topics.vehicle), partitions=topics.partitions
    )
    settings = KafkaSettings(
        kafka_bootstrap_servers=ground.stack.kafka_bootstrap_servers,
        kafka_meter_topic=topics.meter,
        kafka_vehicle_topic=topics.vehicle,
    )
    producer = ReadingProducer(settings, ground.say)
    await producer.start()
    start = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=2 * MINUTES)
    table = timetable(Fleet(DEVICES))
    for minute in range(MINUTES):
        opens = start + timedelta(minutes=minute)
        await producer.send(due(table, milliseconds(opens), milliseconds(opens + timedelta(minutes=1))))
        if minute % 10 == 9:
            ground.say(f"{(minute + 1) * 2 * DEVICES:,} of {RECORDS:,} records produced")
    await producer.stop(60)
    if producer.tally.acknowledged != RECORDS:
        raise RuntimeError(f"{producer.tally.acknowledged} of {RECORDS} records were acknowledged")


def _run(ground: Ground, topics: Topics, number: int) -> Result:
    with ground.database() as database, Processes() as processes:
        environment = service_environment(ground.stack, database, topics)
        environment["KAFKA_GROUP_ID"] = f"bench-{os.getpid()}-{number}"
        directory = ground.directory / f"drain-{number}"
        directory.mkdir()
        return asyncio.run(_drain(ground, database, topics, Group(processes, environment, directory), number))


async def _drain(ground: Ground, database: Database, topics: Topics, group: Group, number: int) -> Result:
    replica = group.start()
    assigned = datetime.fromisoformat((await replica.says("partitions_assigned"))["timestamp"]).timestamp()
    before = _cpu_seconds(ground)
    connection = await asyncpg.connect(database.migrator_url)
    try:
        while await connection.fetchval("SELECT coalesce(sum(records_consumed), 0) FROM kafka_offsets") < RECORDS:
            if replica.process.poll() is not None:
                raise RuntimeError(f"the consumer has ended: {replica.log.read_text()[-2000:]}")
            await asyncio.sleep(LOOK_SECONDS)
        seconds = time.time() - assigned
        spent = replica.process.cpu_times()
        after = _cpu_seconds(ground)
    finally:
        await connection.close()
    for topic, entry in (await ledger(database, topics)).items():
        if entry.written != RECORDS // 2:
            raise RuntimeError(f"{topic}: {entry}")
    rate = RECORDS / seconds
    ground.say(f"drain, run {number}: {rate:,.0f} records/s")
    per_record = 1e6 / RECORDS
    return Result(
        measure="drain",
        value=round(rate),
        unit="records/s",
        run=number,
        details={
            "consumer_cpu_us_per_record": round((spent.user + spent.system) * per_record, 3),
            **{
                f"{server}_cpu_us_per_record": round((after[server] - before[server]) * per_record, 3)
                for server in after
            },
        },
    )


def _cpu_seconds(ground: Ground) -> dict[str, float]:
    """CPU time of the servers that we run, sessions that have ended included."""
    running = {"postgres": ground.stack.postgres, "kafka": ground.stack.kafka}
    return {
        name: sum(_spent(each) for each in (server.process, *server.process.children(recursive=True)))
        for name, server in running.items()
        if server and server.process
    }


def _spent(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)
