"""Assignments over Kafka, with the real consumer: each counts once, and also for readings that arrived before it."""

import asyncio
import json
import subprocess
import sys
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer

from deploy.stack.servers import Servers
from deploy.stack.topics import create_topics
from schemas.records.readings import Reason
from sql.queries import queries
from tests.support.command import consumer_command, partition_statuses
from tests.support.database import Database, locked_tables, waits_for_lock
from tests.support.ledger import Entry, Topics, ledger, until_consumed
from tests.support.records import assignment, meter, minute, vehicle
from tests.support.repository import ROOT
from tests.support.services import ConsumerGroup
from tests.support.waiting import until

pytestmark = pytest.mark.anyio
HOUR = 60


@pytest.fixture
async def all_topics(stack: Servers, topics: Topics) -> Topics:
    await create_topics(stack.kafka_bootstrap_servers, [topics.assignment], partitions=topics.partitions)
    return topics


async def produce(stack: Servers, topic: str, *values: bytes, partition: int | None = None) -> None:
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka_bootstrap_servers, acks="all") as producer:
        for value in values:
            await producer.send(topic, value, b"VEH-1", partition=partition)


async def an_hour_of_readings(stack: Servers, topics: Topics) -> None:
    """METER-1 measures 0.5 kWh a minute, METER-2 0.25; VEH-1 receives 0.4."""
    await produce(stack, topics.meter, *[meter("METER-1", minute(each), kwh=0.5) for each in range(HOUR)])
    await produce(stack, topics.meter, *[meter("METER-2", minute(each), kwh=0.25) for each in range(HOUR)])
    await produce(stack, topics.vehicle, *[vehicle("VEH-1", minute(each), kwh=0.4) for each in range(HOUR)])


async def energy(database: Database) -> tuple[Any, ...]:
    """Of VEH-1 in that hour: assigned seconds, AC kWh, DC kWh while assigned."""
    connection = await asyncpg.connect(database.reader_url)
    try:
        found = queries.energy_of(connection, vehicle_ids=["VEH-1"], opens=[minute(0)], closes=[minute(HOUR)])
        (row,) = [row async for row in found]
    finally:
        await connection.close()
    return row["assigned_seconds"], row["ac_kwh"], pytest.approx(row["dc_kwh_assigned"])


async def test_readings_that_arrived_before_their_assignment_count_once_it_arrives(
    stack: Servers, database: Database, all_topics: Topics, group: ConsumerGroup
) -> None:
    group.start()
    await an_hour_of_readings(stack, all_topics)
    await until_consumed(database, all_topics.meter, 2 * HOUR)
    await until_consumed(database, all_topics.vehicle, HOUR)
    assert await energy(database) == (None, 0, 0)

    await produce(stack, all_topics.assignment, assignment("VEH-1", "METER-1", minute(0)))
    await until_consumed(database, all_topics.assignment, 1)
    assert await energy(database) == (3600, 30, 24)

    await produce(
        stack,
        all_topics.assignment,
        assignment("VEH-1", "METER-2", minute(20.5)),
        assignment("VEH-1", "METER-2", minute(20.5), minute(40.5)),
    )
    await until_consumed(database, all_topics.assignment, 3)
    assert await energy(database) == (40.5 * 60, 21 * 0.5 + 20 * 0.25, 41 * 0.4)
    assert (await ledger(database, all_topics))[all_topics.assignment] == Entry(3, 3, 0, 0)


async def test_each_record_is_written_or_a_duplicate_or_a_replayable_dead_letter(
    stack: Servers, database: Database, all_topics: Topics, group: ConsumerGroup, environment: dict[str, str]
) -> None:
    consumer = group.start()
    year = timedelta(days=365)
    await produce(
        stack,
        all_topics.assignment,
        assignment("VEH-1", "METER-1", minute(0) - 40 * year, minute(0) + 40 * year),
        assignment("VEH-1", "METER-1", minute(0) - 40 * year, minute(0) + 40 * year),
        assignment("VEH-2", "METER-1", minute(0)),
        assignment("VEH-3", "METER-3", minute(5), minute(5)),
        b"no JSON",
        partition=1,
    )
    await until_consumed(database, all_topics.assignment, 5)
    assert (await ledger(database, all_topics))[all_topics.assignment] == Entry(5, 1, 1, 3)
    letters = await database.fetch('SELECT "offset", reason, detail FROM dead_letters ORDER BY 1')
    assert [(row["offset"], row["reason"]) for row in letters] == [
        (2, Reason.OVERLAPPING_ASSIGNMENT), (3, Reason.INVALID_INTERVAL), (4, Reason.INVALID_JSON),
    ]  # fmt: skip
    assert "VEH-1 is at METER-1 during" in letters[0]["detail"]
    overlapping = {"topic": all_topics.assignment, "reason": Reason.OVERLAPPING_ASSIGNMENT}
    assert await consumer.metric("energy_dead_letters_total", **overlapping) == 1
    assert await consumer.metric("energy_records_duplicate_total", topic=all_topics.assignment) == 1

    operator = consumer_command(environment, database)
    assert "still rejected: 3" in (await operator.succeed("dead-letters", "replay", "--yes"))[1]
    ends_now = assignment("VEH-1", "METER-1", minute(0) - 40 * year, minute(0))
    await produce(stack, all_topics.assignment, ends_now, partition=1)
    await until_consumed(database, all_topics.assignment, 6)
    assert (
        "written: 1, duplicates: 0, still rejected: 2" in (await operator.succeed("dead-letters", "replay", "--yes"))[1]
    )
    assert (await ledger(database, all_topics))[all_topics.assignment] == Entry(6, 3, 1, 2)
    assert (
        await database.value("SELECT meter_id FROM vehicle_meter_assignments WHERE vehicle_id = 'VEH-2'") == "METER-1"
    )
    topics = {each["topic"] for each in await partition_statuses(operator)}
    assert topics == {all_topics.meter, all_topics.vehicle, all_topics.assignment}


async def test_readings_do_not_wait_for_the_assignment_topic(
    stack: Servers, database: Database, topics: Topics, group: ConsumerGroup
) -> None:
    consumer = group.start()
    assert (await consumer.until_logged("waiting_for_topics"))["missing"] == [topics.assignment]
    await consumer.until_ready()
    await produce(stack, topics.meter, meter())
    await until_consumed(database, topics.meter, 1)

    await create_topics(stack.kafka_bootstrap_servers, [topics.assignment], partitions=3)
    await produce(stack, topics.assignment, assignment())
    await until_consumed(database, topics.assignment, 1)
    assert await database.value("SELECT count(*) FROM kafka_offsets WHERE topic = $1", topics.assignment) == 3


async def test_a_consumer_killed_between_claim_and_commit_leaves_no_partial_write(
    stack: Servers, database: Database, all_topics: Topics, group: ConsumerGroup
) -> None:
    killed = group.start()
    await killed.until_ready()
    async with locked_tables(database, "vehicle_meter_assignments"):
        await produce(stack, all_topics.assignment, assignment("VEH-1", "METER-1", minute(0)), partition=0)
        await produce(stack, all_topics.assignment, assignment("VEH-1", "METER-2", minute(1)), partition=1)
        await until(lambda: waits_for_lock(database), "the consumer is in the middle of a transaction")
        group.kill(killed)
    group.start()
    await until_consumed(database, all_topics.assignment, 2)
    assert (await ledger(database, all_topics))[all_topics.assignment] == Entry(2, 2, 0, 0)
    rows = await database.fetch("SELECT meter_id, upper(valid_during) FROM vehicle_meter_assignments ORDER BY 1")
    assert [tuple(row) for row in rows] == [("METER-1", minute(1)), ("METER-2", None)]


async def test_the_simulators_assignments_arrive(
    database: Database, all_topics: Topics, group: ConsumerGroup, environment: dict[str, str]
) -> None:
    group.start()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "deploy.simulator", "assignments", "--devices", "500", "--kafka",
        env=environment, cwd=ROOT, stdout=subprocess.PIPE,
    )  # fmt: skip
    printed, _ = await process.communicate()
    assert process.returncode == 0
    assert json.loads(printed) == {"sent": 500, "acknowledged": 500, "errors": 0}
    await until_consumed(database, all_topics.assignment, 500)
    assert (await ledger(database, all_topics))[all_topics.assignment] == Entry(500, 500, 0, 0)
    assert await database.value("SELECT count(*) FROM vehicle_meter_assignments") == 500
