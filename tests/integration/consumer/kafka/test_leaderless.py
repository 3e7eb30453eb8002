"""A partition without a leader: the other partitions are read, and the one is named."""

import asyncio
from collections.abc import Iterable

import pytest

from tests.faults.kafka_cluster import Cluster
from tests.support.command import Command, consumer_command, partition_statuses
from tests.support.database import Database
from tests.support.ledger import Topics, until_consumed
from tests.support.records import meter, minute
from tests.support.services import ConsumerGroup
from tests.support.topics import place_topics, produce
from tests.support.waiting import until

pytestmark = pytest.mark.anyio
PARTITIONS = 4
LEADERLESS = 2  # this partition is on the broker of this number, and the others are on the other brokers
OTHERS = [number for number in range(PARTITIONS) if number != LEADERLESS]


async def create_topics(servers: str, topics: Topics) -> None:
    """Topics without replication: a partition has no leader while its broker is down."""
    elsewhere = {number: [1 + 2 * (number % 2)] for number in range(PARTITIONS)}
    placed = {topics.meter: elsewhere | {LEADERLESS: [LEADERLESS]}, topics.vehicle: elsewhere}
    await place_topics(servers, placed, {"min.insync.replicas": "1"})


async def produce_to_each(servers: str, topic: str, partitions: Iterable[int], *, at: int) -> None:
    for partition in partitions:
        await produce(servers, topic, [meter(f"METER-{partition}", minute(at))], partition=partition)


async def until_shown_as_leaderless(operator: Command, topic: str) -> None:
    """Waits until `offsets show` lists the one partition without a leader and the others with their state.

    The command succeeds every time, also before the cluster has noticed that the broker is down.
    """
    expected = dict.fromkeys(range(PARTITIONS), "not held by any consumer")

    async def shown() -> bool:
        statuses = await partition_statuses(operator)
        states = {each["partition"]: each["state"] for each in statuses if each["topic"] == topic}
        return states.pop(LEADERLESS).startswith("no leader") and states.items() <= expected.items()

    await until(shown, "`offsets show` names the partition without a leader")


async def test_partitions_with_a_leader_are_read_and_the_one_without_is_named(
    cluster: Cluster, database: Database, new_topics: Topics, group: ConsumerGroup
) -> None:
    servers, topics = cluster.stack.kafka_bootstrap_servers, new_topics
    await create_topics(servers, topics)
    group.environment["KAFKA_BOOTSTRAP_SERVERS"] = servers
    first = group.start()
    await first.until_ready()
    await produce_to_each(servers, topics.meter, range(PARTITIONS), at=0)
    await until_consumed(database, topics.meter, PARTITIONS)
    assert group.stop(first) == 0

    cluster.brokers[LEADERLESS].kill()
    await until_shown_as_leaderless(consumer_command(group.environment, database), topics.meter)
    await produce_to_each(servers, topics.meter, OTHERS, at=1)
    consumer = group.start()
    await until_consumed(database, topics.meter, PARTITIONS + len(OTHERS))

    async def named() -> bool:
        blocked = await consumer.blocked_by()
        return f"{topics.meter}-{LEADERLESS}: no leader" in blocked.get("partition_unavailable", "")

    await until(named, "readiness names the partition without a leader")
    assert set(await consumer.blocked_by()) == {"partition_unavailable"}, "nothing else is blamed"
    labels = {"topic": topics.meter, "partition": str(LEADERLESS)}
    assert await consumer.metric("energy_consumer_partition_unavailable", **labels) == 1
    assert await consumer.metric("energy_consumer_partition_unavailable") == 1

    await asyncio.to_thread(cluster.brokers[LEADERLESS].start)
    await consumer.until_ready()
    await produce_to_each(servers, topics.meter, [LEADERLESS], at=1)
    await until_consumed(database, topics.meter, 2 * PARTITIONS)


async def test_a_running_consumer_reads_the_other_partitions_when_one_loses_its_leader(
    cluster: Cluster, database: Database, new_topics: Topics, group: ConsumerGroup
) -> None:
    servers, topics = cluster.stack.kafka_bootstrap_servers, new_topics
    await create_topics(servers, topics)
    group.environment["KAFKA_BOOTSTRAP_SERVERS"] = servers
    consumer = group.start()
    await consumer.until_ready()
    cluster.brokers[LEADERLESS].kill()
    await produce_to_each(servers, topics.meter, OTHERS, at=0)
    await until_consumed(database, topics.meter, len(OTHERS))
    await consumer.until_logged("partitions_unavailable")
    await asyncio.to_thread(cluster.brokers[LEADERLESS].start)
    await consumer.until_ready()
    await produce_to_each(servers, topics.meter, [LEADERLESS], at=0)
    await until_consumed(database, topics.meter, PARTITIONS)
