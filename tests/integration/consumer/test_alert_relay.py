"""Events of faults on their way from the outbox to Kafka, with the real consumer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import groupby
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer

from deploy.stack.servers import Servers
from deploy.stack.topics import create_topics
from tests.support.database import Database, waits_for_lock
from tests.support.ledger import Topics
from tests.support.services import ConsumerGroup
from tests.support.waiting import until

pytestmark = pytest.mark.anyio
WAITING = "SELECT count(*) FROM alert_outbox WHERE published_at IS NULL"


@pytest.fixture
def alert_topic(topics: Topics, environment: dict[str, str]) -> str:
    """The name of a topic that does not exist yet."""
    environment["KAFKA_ALERT_TOPIC"] = f"alerts-of-{topics.meter}"
    return environment["KAFKA_ALERT_TOPIC"]


async def write(database: Database, first: int, beyond: int) -> None:
    """Events [first, beyond) of three vehicles in turn."""
    await database.execute(
        "INSERT INTO alert_outbox (key, value) SELECT 'VEH-' || number % 3, 'event ' || number "
        f"FROM generate_series({first}, {beyond - 1}) AS number ORDER BY number"
    )


async def all_published(database: Database) -> bool:
    return bool(await database.value(WAITING) == 0)


async def carried(stack: Servers, topic: str) -> list[tuple[str, str]]:
    """(key, value) of each record, in the order in which Kafka got them."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=stack.kafka_bootstrap_servers, auto_offset_reset="earliest")
    async with consumer:
        ends = await consumer.end_offsets(consumer.assignment())
        records: list[Any] = []
        while len(records) < sum(ends.values()):
            for found in (await consumer.getmany(timeout_ms=500)).values():
                records += found
    return [(each.key.decode(), each.value.decode()) for each in sorted(records, key=lambda each: each.timestamp)]


def by_vehicle(records: list[tuple[str, str]]) -> dict[str, list[int]]:
    """Numbers of the events of each vehicle, in order, repetitions that follow each other taken as one."""
    numbers: dict[str, list[int]] = {}
    for key, value in records:
        numbers.setdefault(key, []).append(int(value.removeprefix("event ")))
    return {key: [number for number, _ in groupby(each)] for key, each in numbers.items()}


def expected(events: int) -> dict[str, list[int]]:
    return {f"VEH-{vehicle}": list(range(vehicle, events, 3)) for vehicle in range(3)}


@asynccontextmanager
async def held(database: Database) -> AsyncIterator[None]:
    """Nothing can be marked as published while the block runs."""
    connection = await asyncpg.connect(database.migrator_url)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE alert_outbox IN EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


async def test_events_are_published_once_and_in_order_whatever_the_number_of_replicas(
    stack: Servers, database: Database, group: ConsumerGroup, alert_topic: str
) -> None:
    await create_topics(stack.kafka_bootstrap_servers, [alert_topic], partitions=2)
    await write(database, 0, 30)
    replicas = [group.start() for _ in range(2)]
    for replica in replicas:
        await replica.until_ready()
    await write(database, 30, 90)
    await until(lambda: all_published(database), "all are published")

    records = await carried(stack, alert_topic)
    assert len(records) == 90
    assert by_vehicle(records) == expected(90)

    async def all_counted() -> bool:
        counted = sum([await replica.metric("energy_alerts_published_total") for replica in replicas])
        waiting = sum([await replica.metric("energy_alerts_waiting") for replica in replicas])
        return (counted, waiting) == (90, 0)

    await until(all_counted, "the replicas have counted them")


async def test_a_replica_killed_before_it_has_noted_what_it_sent_sends_it_again(
    stack: Servers, database: Database, group: ConsumerGroup, alert_topic: str
) -> None:
    await create_topics(stack.kafka_bootstrap_servers, [alert_topic], partitions=2)
    killed = group.start()
    await killed.until_ready()
    await write(database, 0, 3)
    await until(lambda: all_published(database), "the first are published")
    await write(database, 3, 6)
    async with held(database):
        await until(lambda: waits_for_lock(database, wrote=False), "an event is sent and not yet noted")
        group.kill(killed)
    group.start()
    await until(lambda: all_published(database), "the others are published")

    records = await carried(stack, alert_topic)
    assert by_vehicle(records) == expected(6)
    assert len(records) == 7


async def test_a_missing_topic_is_waited_for_and_not_made(
    stack: Servers, database: Database, group: ConsumerGroup, alert_topic: str
) -> None:
    replica = group.start()
    await replica.until_ready()
    await write(database, 0, 3)
    assert alert_topic in (await replica.until_logged("alert_relay_blocked"))["error"]

    async def seen() -> bool:
        return await replica.metric("energy_alerts_waiting") == 3

    await until(seen, "the replica says how many wait")
    await replica.until_ready()
    await create_topics(stack.kafka_bootstrap_servers, [alert_topic], partitions=1)
    await until(lambda: all_published(database), "all are published")
    assert by_vehicle(await carried(stack, alert_topic)) == expected(3)
    assert len(replica.events("alert_relay_blocked")) == 1
    await replica.until_logged("alert_relay_unblocked")


async def test_an_outbox_that_cannot_be_used_ends_no_replica(
    stack: Servers, database: Database, group: ConsumerGroup, alert_topic: str
) -> None:
    await create_topics(stack.kafka_bootstrap_servers, [alert_topic], partitions=1)
    await database.execute("ALTER TABLE alert_outbox RENAME TO not_migrated_yet")
    replica = group.start()
    assert "UndefinedTable" in (await replica.until_logged("alert_relay_blocked"))["error"]
    await replica.until_ready()

    await database.execute("ALTER TABLE not_migrated_yet RENAME TO alert_outbox")
    await write(database, 0, 3)
    await until(lambda: all_published(database), "all are published")
    assert group.stop(replica) == 0
