"""The alert relay of real consumers: fault events go from the transactional outbox to Kafka."""

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
UNPUBLISHED = "SELECT count(*) FROM alert_outbox WHERE published_at IS NULL"


@pytest.fixture
def alert_topic(topics: Topics, environment: dict[str, str]) -> str:
    """The name of an alert topic that does not exist yet; consumers are configured with it."""
    environment["KAFKA_ALERT_TOPIC"] = f"alerts-of-{topics.meter}"
    return environment["KAFKA_ALERT_TOPIC"]


async def insert_events(database: Database, first: int, end: int) -> None:
    """Insert events [first, end) into the outbox, of three vehicles in turn."""
    await database.execute(
        "INSERT INTO alert_outbox (key, value) SELECT 'VEH-' || number % 3, 'event ' || number "
        f"FROM generate_series({first}, {end - 1}) AS number ORDER BY number"
    )


async def all_published(database: Database) -> bool:
    return bool(await database.value(UNPUBLISHED) == 0)


async def published_events(stack: Servers, topic: str) -> list[tuple[str, str]]:
    """(key, value) of each record of the topic, in the order in which Kafka received them."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=stack.kafka_bootstrap_servers, auto_offset_reset="earliest")
    async with consumer:
        ends = await consumer.end_offsets(consumer.assignment())
        records: list[Any] = []
        while len(records) < sum(ends.values()):
            for found in (await consumer.getmany(timeout_ms=500)).values():
                records += found
    return [(each.key.decode(), each.value.decode()) for each in sorted(records, key=lambda each: each.timestamp)]


def by_vehicle(records: list[tuple[str, str]]) -> dict[str, list[int]]:
    """Numbers of the events of each vehicle, in order; consecutive repetitions count once."""
    numbers: dict[str, list[int]] = {}
    for key, value in records:
        numbers.setdefault(key, []).append(int(value.removeprefix("event ")))
    return {key: [number for number, _ in groupby(each)] for key, each in numbers.items()}


def expected(events: int) -> dict[str, list[int]]:
    return {f"VEH-{vehicle}": list(range(vehicle, events, 3)) for vehicle in range(3)}


@asynccontextmanager
async def block_updates(database: Database) -> AsyncIterator[None]:
    """No event can be marked as published while the block runs."""
    connection = await asyncpg.connect(database.migrator_url)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE alert_outbox IN EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


async def test_two_consumers_publish_each_event_once_and_in_order(
    stack: Servers, database: Database, group: ConsumerGroup, alert_topic: str
) -> None:
    await create_topics(stack.kafka_bootstrap_servers, [alert_topic], partitions=2)
    await insert_events(database, 0, 30)
    consumers = [group.start() for _ in range(2)]
    for consumer in consumers:
        await consumer.until_ready()
    await insert_events(database, 30, 90)
    await until(lambda: all_published(database), "all events are published")

    records = await published_events(stack, alert_topic)
    assert len(records) == 90
    assert by_vehicle(records) == expected(90)

    async def all_counted() -> bool:
        counted = sum([await consumer.metric("energy_alerts_published_total") for consumer in consumers])
        waiting = sum([await consumer.metric("energy_alerts_waiting") for consumer in consumers])
        return (counted, waiting) == (90, 0)

    await until(all_counted, "the metrics of the consumers show every event as published")


async def test_an_event_is_sent_again_when_its_consumer_was_killed_before_marking_it_as_published(
    stack: Servers, database: Database, group: ConsumerGroup, alert_topic: str
) -> None:
    await create_topics(stack.kafka_bootstrap_servers, [alert_topic], partitions=2)
    killed = group.start()
    await killed.until_ready()
    await insert_events(database, 0, 3)
    await until(lambda: all_published(database), "the first events are published")
    await insert_events(database, 3, 6)
    async with block_updates(database):
        await until(lambda: waits_for_lock(database, wrote=False), "an event is sent and not yet marked as published")
        group.kill(killed)
    group.start()
    await until(lambda: all_published(database), "the other events are published")

    records = await published_events(stack, alert_topic)
    assert by_vehicle(records) == expected(6)
    assert len(records) == 7


async def test_the_relay_waits_for_a_missing_topic_and_does_not_create_it(
    stack: Servers, database: Database, group: ConsumerGroup, alert_topic: str
) -> None:
    consumer = group.start()
    await consumer.until_ready()
    await insert_events(database, 0, 3)
    assert alert_topic in (await consumer.until_logged("alert_relay_blocked"))["error"]

    async def backlog_is_reported() -> bool:
        return await consumer.metric("energy_alerts_waiting") == 3

    await until(backlog_is_reported, "the consumer reports the number of waiting events")
    await consumer.until_ready()
    await create_topics(stack.kafka_bootstrap_servers, [alert_topic], partitions=1)
    await until(lambda: all_published(database), "all events are published")
    assert by_vehicle(await published_events(stack, alert_topic)) == expected(3)
    assert len(consumer.events("alert_relay_blocked")) == 1
    await consumer.until_logged("alert_relay_unblocked")


async def test_a_missing_outbox_table_does_not_stop_the_consumer(
    stack: Servers, database: Database, group: ConsumerGroup, alert_topic: str
) -> None:
    await create_topics(stack.kafka_bootstrap_servers, [alert_topic], partitions=1)
    await database.execute("ALTER TABLE alert_outbox RENAME TO not_migrated_yet")
    consumer = group.start()
    assert "UndefinedTable" in (await consumer.until_logged("alert_relay_blocked"))["error"]
    await consumer.until_ready()

    await database.execute("ALTER TABLE not_migrated_yet RENAME TO alert_outbox")
    await insert_events(database, 0, 3)
    await until(lambda: all_published(database), "all events are published")
    assert group.stop(consumer) == 0
