"""The topics of one test, and the ledger of the records that a consumer has committed from them."""

from dataclasses import dataclass

import asyncpg
from aiokafka.admin import AIOKafkaAdminClient

from deploy.stack.servers import Servers
from schemas.config.settings import topic_names
from sql.queries import queries
from tests.support.database import Database
from tests.support.waiting import until


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one test, with `partitions` partitions each; several of a type are separated by commas."""

    meter: str
    vehicle: str
    partitions: int
    assignment: str = "assignments"
    register: str = "register-readings"
    alert: str = "efficiency-alerts"


@dataclass(frozen=True, slots=True)
class Entry:
    """The counts of one topic, in records."""

    consumed: int
    written: int
    duplicates: int
    dead_lettered: int


async def ledger(database: Database, topics: Topics) -> dict[str, Entry]:
    """The ledger by topic. Fails unless its counts add up with the rows that are really stored."""
    connection = await asyncpg.connect(database.migrator_url)
    try:
        found = queries.ledger(
            connection,
            meter_topics=topic_names(topics.meter),
            vehicle_topics=topic_names(topics.vehicle),
            assignment_topics=topic_names(topics.assignment),
            register_topics=topic_names(topics.register),
        )
        rows = [row async for row in found]
    finally:
        await connection.close()
    for row in rows:
        assert row["adds_up"], f"the ledger does not add up: {dict(row)}"
    return {
        row["topic"]: Entry(row["consumed"], row["written"], row["duplicates"], row["dead_lettered"]) for row in rows
    }


async def consumed(database: Database, topic: str | None = None) -> int:
    """The number of records that consumers have committed, from one topic or from all."""
    query = "SELECT coalesce(sum(records_consumed), 0) FROM kafka_offsets WHERE topic = coalesce($1, topic)"
    return int(await database.value(query, topic))


async def until_consumed(database: Database, topic: str | None, number: int, *, timeout: float = 60) -> None:
    """Waits until consumers have committed at least this many records, from one topic or from all."""

    async def reached() -> bool:
        return await consumed(database, topic) >= number

    await until(reached, f"{number} records of {topic or 'all topics'} are consumed", timeout=timeout)


async def committed_in_kafka(stack: Servers, consumer_group: str) -> dict[tuple[str, int], int]:
    """The offsets that Kafka itself holds for a group, by topic and partition."""
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap_servers)
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets(consumer_group)
    finally:
        await admin.close()
    return {(partition.topic, partition.partition): found.offset for partition, found in offsets.items()}
